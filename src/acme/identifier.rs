//! Identifiers in normal form (RFC 8555 §7.1.3, §9.7.7).

use std::fmt;

use super::problem::{Problem, ProblemType};

/// The longest DNS name in presentation form without its final dot (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A name that may be ordered, in normal form: lower case, A-labels, no final dot. Two are equal
/// exactly where they mean the same name. The only ways to make one check the whole form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identifier {
    /// Without the `*.` of a wildcard.
    base: String,
    wildcard: bool,
}

impl Identifier {
    /// Reads an identifier object's `type` and `value`.
    pub(crate) fn parse(kind: &str, value: &str) -> Result<Self, Problem> {
        match kind {
            "dns" => Self::dns(value),
            other => Err(Problem::new(
                ProblemType::UnsupportedIdentifier,
                format!(
                    "identifiers of type {:?} are not supported here; use \"dns\"",
                    shorten(other)
                ),
            )),
        }
    }

    /// Reads a DNS name, possibly with a `*.` in front.
    pub(crate) fn dns(value: &str) -> Result<Self, Problem> {
        let refused = |why: &str| {
            Problem::new(ProblemType::RejectedIdentifier, format!("{:?} {why}", shorten(value)))
        };
        if !value.is_ascii() {
            return Err(refused(
                "is not ASCII; write an internationalised name as A-labels (xn--…)",
            ));
        }
        let folded = value.to_ascii_lowercase();
        let folded = folded.strip_suffix('.').unwrap_or(&folded);
        let (base, wildcard) = match folded.strip_prefix("*.") {
            Some(base) => (base, true),
            None => (folded, false),
        };
        if base.is_empty() {
            return Err(refused("is empty"));
        }
        if folded.len() > MAX_NAME {
            return Err(refused("is longer than 253 characters"));
        }
        for label in base.split('.') {
            check_label(label).map_err(&refused)?;
        }
        let last = base.rsplit('.').next().unwrap_or(base);
        let hex =
            last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
        // A URL with such a host would be read as one with an IPv4 address.
        if hex || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused("ends in a numeric label, so it is not a DNS name"));
        }
        if idna::domain_to_ascii_strict(base).ok().as_deref() != Some(base) {
            return Err(refused("has a label that is not a valid A-label (RFC 5891)"));
        }
        Ok(Self { base: base.to_owned(), wildcard })
    }

    /// The identifier's `type`.
    pub(crate) fn kind(&self) -> &'static str {
        "dns"
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The name to prove control of: without the `*.` (RFC 8555 §7.1.4).
    pub(crate) fn base(&self) -> &str {
        &self.base
    }
}

/// The name as a certificate carries it: with the `*.` of a wildcard.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        f.write_str(&self.base)
    }
}

/// Letters, digits and hyphens, hyphens not at the ends (RFC 5890 §2.3.1).
fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("has an empty label");
    }
    if label.len() > MAX_LABEL {
        return Err("has a label of more than 63 characters");
    }
    if label.contains('*') {
        return Err("has a * where none may be: a wildcard is *. followed by a name");
    }
    if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("has a character other than letters, digits, hyphens and dots");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("has a label that begins or ends with a hyphen");
    }
    if label.as_bytes().get(2..4) == Some(b"--") && !label.starts_with("xn--") {
        return Err("has a label with hyphens in its third and fourth place");
    }
    Ok(())
}

/// Enough of a refused value for a person to know it again.
fn shorten(value: &str) -> String {
    if value.chars().count() <= 80 {
        return value.to_owned();
    }
    value.chars().take(79).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_the_same_are_equal() {
        for same in ["Example.TEST", "example.test.", "EXAMPLE.test"] {
            assert_eq!(Identifier::dns(same).unwrap(), Identifier::dns("example.test").unwrap());
        }
        assert_eq!(Identifier::dns("*.Example.test").unwrap().to_string(), "*.example.test");
    }

    #[test]
    fn names_that_no_certificate_may_carry_are_refused() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = format!("{}test", "a.".repeat(126));
        for bad in [
            "",
            ".",
            "*",
            "*.",
            "a..test",
            ".a.test",
            "a.test..",
            "-a.test",
            "a-.test",
            "a_b.test",
            "a b.test",
            "a\0.test",
            "*.*.test",
            "a*.test",
            "bücher.test",
            "xn--a.test",
            "xn--.test",
            "ab--c.test",
            "127.0.0.1",
            "0x7f000001",
            "127.0.0.0x1",
            "a.0x",
            "a.1",
            "[::1]",
            "a.test:80",
            "http://a.test",
            &long_label,
            &long_name,
        ] {
            let problem = Identifier::dns(bad).expect_err(bad);
            assert_eq!(problem.kind, ProblemType::RejectedIdentifier, "{bad}");
        }
    }

    #[test]
    fn single_labels_and_a_labels_pass() {
        for good in ["printer", "xn--bcher-kva.test", "a.b.c.internal", "1.test", "test.localhost"]
        {
            assert_eq!(Identifier::dns(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn an_unknown_type_is_unsupported() {
        let problem = Identifier::parse("email", "a@b.test").expect_err("email is no type here");
        assert_eq!(problem.kind, ProblemType::UnsupportedIdentifier);
    }
}
