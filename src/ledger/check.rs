//! Whether a chain is whole, row by row.

use super::Head;

/// One row of the chain, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) position: i64,
    pub(crate) id: String,
    pub(crate) entry: String,
    pub(crate) hash: String,
}

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Break {
    #[error("entry {0} is missing: it was deleted")]
    Missing(i64),
    #[error("entries {0} to {1} are missing: they were deleted")]
    MissingRange(i64, i64),
    #[error(
        "entry {0} does not fit: it, its hash or the hash before it was altered, or it was put there"
    )]
    Altered(i64),
    #[error("entry {0} stands where no entry can: positions begin with 1 and go up")]
    OutOfPlace(i64),
}

/// Checks rows in the order of their positions.
#[derive(Debug)]
pub(crate) struct ChainCheck {
    head: Head,
}

impl ChainCheck {
    /// Behind `head`, which is believed.
    pub(crate) fn after(head: Head) -> Self {
        Self { head }
    }

    /// The last row that was seen, with the hash that is stored for it.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// What is wrong between the row before and this one. The check goes on from what is stored, so that
    /// each change is told of once, where it was made.
    pub(crate) fn row(&mut self, row: &Row) -> Option<Break> {
        let expected = self.head.position + 1;
        if row.position < expected {
            return Some(Break::OutOfPlace(row.position));
        }
        let found = if row.position > expected {
            // What the hash covers is gone, so whether this one was altered, too, cannot be said.
            let last = row.position - 1;
            Some(if last == expected {
                Break::Missing(expected)
            } else {
                Break::MissingRange(expected, last)
            })
        } else {
            let fits = self.head.then(&row.id, &row.entry).hash == row.hash;
            (!fits).then_some(Break::Altered(row.position))
        };
        self.head = Head { position: row.position, hash: row.hash.clone() };
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(entries: &[String]) -> Vec<Row> {
        let mut head = Head::genesis();
        let rows = entries.iter().enumerate().map(|(index, entry)| {
            let id = format!("{index:04}");
            head = head.then(&id, entry);
            let (position, hash) = (head.position, head.hash.clone());
            Row { position, id, entry: entry.clone(), hash }
        });
        rows.collect()
    }

    /// What is found, with the end of the chain compared with what it should be.
    fn check(rows: &[Row], end: &Head) -> Vec<Break> {
        let mut check = ChainCheck::after(Head::genesis());
        let mut found: Vec<_> = rows.iter().filter_map(|row| check.row(row)).collect();
        if check.head() != end {
            found.push(Break::Missing(check.head().position + 1));
        }
        found
    }

    proptest! {
        #[test]
        fn a_chain_is_whole_and_any_single_change_is_found(
            entries in proptest::collection::vec("[a-z{}\"]{0,12}", 1..30),
            at in any::<prop::sample::Index>(),
            with in any::<prop::sample::Index>(),
            change in 0..8,
        ) {
            let mut rows = chain(&entries);
            let last = rows.last().unwrap();
            let end = Head { position: last.position, hash: last.hash.clone() };
            prop_assert_eq!(check(&rows, &end), vec![]);
            let (at, with) = (at.index(rows.len()), with.index(rows.len()));
            let before = rows.clone();
            match change {
                0 => rows[at].entry.push('x'),
                1 => rows[at].id.push('x'),
                2 => rows[at].hash = super::super::digest(b"another"),
                3 => drop(rows.remove(at)),
                // Two rows change places, with or without their hashes.
                4 | 5 => {
                    let (position, other) = (rows[at].position, rows[with].position);
                    rows.swap(at, with);
                    (rows[at].position, rows[with].position) = (position, other);
                    if change == 5 {
                        let hash = rows[at].hash.clone();
                        rows[at].hash = std::mem::replace(&mut rows[with].hash, hash);
                    }
                }
                // A row is put between, or at the end, and those behind it move.
                6 => {
                    let new = Row { entry: "new".to_owned(), ..rows[at].clone() };
                    rows.insert(at, new);
                    for (row, position) in rows.iter_mut().zip(1..) {
                        row.position = position;
                    }
                }
                // The tail is chained anew after a change: what was the end is no longer there.
                _ => {
                    let changed = rows.iter().enumerate().map(|(index, row)| {
                        if index == at { format!("{}x", row.entry) } else { row.entry.clone() }
                    });
                    rows = chain(&changed.collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(check(&rows, &end).is_empty(), rows == before);
        }
    }

    #[test]
    fn a_change_is_told_of_where_it_was_made() {
        let rows = chain(&["a", "b", "c", "d", "e"].map(str::to_owned));
        let end = Head { position: 5, hash: rows[4].hash.clone() };
        let mut altered = rows.clone();
        altered[2].entry = "x".to_owned();
        assert_eq!(check(&altered, &end), [Break::Altered(3)]);
        let without = |range: std::ops::Range<usize>| {
            let mut left = rows.clone();
            left.drain(range);
            check(&left, &end)
        };
        assert_eq!(without(1..2), [Break::Missing(2)]);
        assert_eq!(without(0..3), [Break::MissingRange(1, 3)]);
        assert_eq!(without(4..5), [Break::Missing(5)], "by the end that is known from elsewhere");
    }
}
