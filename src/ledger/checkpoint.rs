//! The end of the chain, as a CA's key signs it.

use super::Head;
use super::entry::rfc3339_ms;
use crate::clock::Timestamp;

/// No certificate and no CRL begins so: DER would begin with the byte 0x30.
const DOMAIN: &str = "kipuka audit checkpoint v1";

/// A statement about the end of the chain; the only bytes beside certificates, CRLs and tests of a key
/// that a CA's key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    text: String,
    pub(crate) head: Head,
    /// The id of the `[[ca]]` whose key signs.
    pub(crate) ca: String,
}

impl Checkpoint {
    pub(crate) fn new(head: &Head, ca: &str, at: Timestamp) -> Self {
        let Head { position, hash } = head;
        let at = rfc3339_ms(at);
        let text = format!("{DOMAIN}\nca: {ca}\nposition: {position}\nhash: {hash}\nat: {at}\n");
        Self { text, head: head.clone(), ca: ca.to_owned() }
    }

    /// Reads what [`Self::new`] writes, and nothing else.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(DOMAIN)?.strip_prefix("\nca: ")?;
        let (ca, rest) = rest.split_once("\nposition: ")?;
        let (position, rest) = rest.split_once("\nhash: ")?;
        let (hash, rest) = rest.split_once("\nat: ")?;
        let at = rest.strip_suffix('\n')?;
        let plain = |text: &str, length: usize| text.len() <= length && !text.contains('\n');
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if !plain(ca, 256) || !plain(at, 32) || hash.len() != 64 || !hash.bytes().all(hex) {
            return None;
        }
        let head = Head { position: position.parse().ok()?, hash: hash.to_owned() };
        (head.position.to_string() == position).then(|| Self {
            text: text.to_owned(),
            head,
            ca: ca.to_owned(),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_nothing_else_is() {
        let head = Head::genesis().then("01", "{}");
        let at = Timestamp::from_unix_ms(1_800_000_000_007);
        let checkpoint = Checkpoint::new(&head, "web", at);
        let text = checkpoint.text();
        assert_eq!(Checkpoint::read(text), Some(checkpoint.clone()));
        assert_ne!(text.as_bytes()[0], 0x30, "it is no DER");
        let hash = head.hash.as_str();
        for (from, to) in [
            ("v1", "v2"),
            ("position: 1", "position: 01"),
            ("position: 1", "position: +1"),
            ("ca: web", "ca: web\nposition: 2"),
            (hash, &hash[1..]),
            (hash, &hash.to_uppercase()),
            ("Z\n", "Z"),
            ("Z\n", "Z\n\n"),
            ("kipuka", " kipuka"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_eq!(Checkpoint::read(&changed), None, "{changed}");
        }
    }
}
