//! The hash chain.

/// What is hashed begins with this, so that no hash of anything else can be taken for one of these.
const DOMAIN: &str = "kipuka audit entry v1";
/// The hash before the first entry.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An end of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Of the last entry; the first one has 1.
    pub(crate) position: i64,
    /// In lower-case hex.
    pub(crate) hash: String,
}

impl Head {
    /// Before the first entry.
    pub(crate) fn genesis() -> Self {
        Self { position: 0, hash: GENESIS.to_owned() }
    }

    /// The end of the chain once this entry is at its end. Text alone is hashed, so that an auditor
    /// needs nothing but `sha256sum`.
    pub(crate) fn then(&self, id: &str, entry: &str) -> Self {
        let position = self.position + 1;
        let hash =
            super::digest(format!("{DOMAIN}\n{}\n{position}\n{id}\n{entry}", self.hash).as_bytes());
        Self { position, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_sha256sum_says() {
        // printf 'kipuka audit entry v1\n%064d\n1\n01\n{}' 0 | sha256sum
        let first = Head::genesis().then("01", "{}");
        assert_eq!(first.position, 1);
        assert_eq!(first.hash, "263aba7a8c9bb046513260a4085e0b7d5f711bdf28812d3a94b8251931587d6b");
    }
}
