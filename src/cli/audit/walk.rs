//! Every entry, once each, while others are written and sealed.

use std::collections::HashSet;

use crate::ledger::Row;
use crate::store::{Store, StoreError};

/// Rows that are read from the database at once.
pub(super) const PAGE: i64 = 1000;

/// An entry, or the place of one.
pub(super) enum Seen<'a> {
    /// In the chain; `known` where it was seen before as pending.
    Sealed { row: &'a Row, known: bool },
    /// Not in the chain yet.
    Pending { id: &'a str, entry: &'a str },
}

/// Shows every entry behind a position that was written before the call, and perhaps later ones. What is
/// pending may be sealed while this runs, so the chain is read once more behind it.
pub(super) async fn walk(
    store: &Store,
    after: i64,
    mut show: impl FnMut(Seen<'_>),
) -> Result<(), StoreError> {
    let mut pending = HashSet::new();
    let mut last = after;
    for round in 0..2 {
        loop {
            let rows = store.sealed_entries(last, PAGE).await?;
            let Some(end) = rows.last() else { break };
            last = end.position;
            for row in &rows {
                show(Seen::Sealed { row, known: pending.contains(&row.id) });
            }
        }
        if round > 0 {
            break;
        }
        let mut after = String::new();
        loop {
            let page = store.pending_entries(&after, PAGE).await?;
            let Some((end, _)) = page.last() else { break };
            after.clone_from(end);
            for (id, entry) in page {
                show(Seen::Pending { id: &id, entry: &entry });
                pending.insert(id);
            }
        }
    }
    Ok(())
}
