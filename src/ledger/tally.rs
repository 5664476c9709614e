//! Whether two sets are the same, in little memory however large they are.

use std::collections::BTreeSet;

/// Of what differs, only the buckets that it is in are looked at again.
const BUCKETS: usize = 4096;

/// Sums of digests of a set's items, in buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    buckets: Vec<u128>,
    items: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], items: 0 }
    }

    pub(crate) fn add(&mut self, item: &str) {
        let (bucket, number) = place(item);
        self.buckets[bucket] = self.buckets[bucket].wrapping_add(number);
        self.items += 1;
    }

    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// The buckets in which the two do not have the same.
    pub(crate) fn differing(&self, other: &Self) -> BTreeSet<usize> {
        let pairs = self.buckets.iter().zip(&other.buckets).enumerate();
        pairs.filter(|(_, (one, other))| one != other).map(|(bucket, _)| bucket).collect()
    }
}

/// The bucket of an item.
pub(crate) fn bucket(item: &str) -> usize {
    place(item).0
}

fn place(item: &str) -> (usize, u128) {
    let digest = openssl::sha::sha256(item.as_bytes());
    let [first, second, ..] = digest;
    let mut number = [0; 16];
    number.copy_from_slice(&digest[16..]);
    (usize::from(u16::from_be_bytes([first, second])) % BUCKETS, u128::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_whatever_the_order() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for number in 0..1000 {
            one.add(&number.to_string());
            other.add(&(999 - number).to_string());
        }
        assert!(one.differing(&other).is_empty());
        one.add("more");
        assert_eq!(one.differing(&other), BTreeSet::from([bucket("more")]));
        other.add("other");
        assert_eq!(one.differing(&other), BTreeSet::from([bucket("more"), bucket("other")]));
        other.add("5");
        assert!(one.differing(&other).contains(&bucket("5")), "twice is not once");
    }
}
