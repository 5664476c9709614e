//! The value of a CAA `issue` or `issuewild` property (RFC 8659 §4.2), which dns-persist-01 writes into
//! TXT records, too.

/// An issue-value that keeps to the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssueValue<'a> {
    /// As it stands there; `None` where nobody is named.
    issuer: Option<&'a str>,
    parameters: Vec<(&'a str, &'a str)>,
}

/// A parameter that is given more than once, so that nobody can say which one counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl<'a> IssueValue<'a> {
    /// Reads a value by the letter of the ABNF; `None` where it does not match.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?;
        let (issuer, rest) = match text.split_once(';') {
            Some((issuer, rest)) => (trim(issuer), Some(trim(rest))),
            None => (trim(text), None),
        };
        if !issuer.is_empty() && !issuer.split('.').all(is_label) {
            return None;
        }
        let parameters = match rest {
            None | Some("") => Vec::new(),
            Some(rest) => rest.split(';').map(parameter).collect::<Option<_>>()?,
        };
        Some(Self { issuer: (!issuer.is_empty()).then_some(issuer), parameters })
    }

    /// Whether it names one of these issuers, which are in lower case (DNS names mean the same in any
    /// case).
    pub(super) fn names(&self, issuers: &[String]) -> bool {
        self.issuer.is_some_and(|named| issuers.iter().any(|own| own.eq_ignore_ascii_case(named)))
    }

    /// The value of a parameter, whose tag may be in any case: a restriction that is written in capitals
    /// is one all the same.
    pub(super) fn parameter(&self, tag: &str) -> Result<Option<&'a str>, Ambiguous> {
        let mut found = self.parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(tag));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => Ok(Some(value)),
            (Some(_), Some(_)) => Err(Ambiguous),
        }
    }
}

/// White space is SP and HTAB (RFC 5234 App. B.1), and nothing else.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn parameter(text: &str) -> Option<(&str, &str)> {
    let (tag, value) = text.split_once('=')?;
    let (tag, value) = (trim(tag), trim(value));
    let printable = |b: u8| (0x21..=0x7e).contains(&b);
    (is_label(tag) && value.bytes().all(printable)).then_some((tag, value))
}

/// `(ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT))`: a label, and a parameter's tag.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(value: &str) -> Option<IssueValue<'_>> {
        IssueValue::parse(value.as_bytes())
    }

    #[test]
    fn what_the_grammar_allows_is_read() {
        for (text, issuer, parameters) in [
            ("", None, vec![]),
            (";", None, vec![]),
            (" \t; ", None, vec![]),
            ("ca.test", Some("ca.test"), vec![]),
            ("  CA.test\t", Some("CA.test"), vec![]),
            ("ca.test;", Some("ca.test"), vec![]),
            ("ca.test; a=b", Some("ca.test"), vec![("a", "b")]),
            ("ca.test ;a = b ; c-1=", Some("ca.test"), vec![("a", "b"), ("c-1", "")]),
            ("; a=b", None, vec![("a", "b")]),
            ("a; u=https://x.test/?q=1:2", Some("a"), vec![("u", "https://x.test/?q=1:2")]),
        ] {
            let value = parse(text).unwrap_or_else(|| panic!("{text:?}"));
            assert_eq!((value.issuer, value.parameters), (issuer, parameters), "{text:?}");
        }
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_not_read() {
        for text in [
            "%%%%%",
            "ca.test.",
            ".ca.test",
            "ca..test",
            "-ca.test",
            "ca-.test",
            "ca_.test",
            "ca test",
            "ca.test a=b",
            "ca.test;;",
            "ca.test; a=b;",
            "ca.test;; a=b",
            "ca.test; a",
            "ca.test; =b",
            "ca.test; a=b c",
            "ca.test; a\u{e9}=b",
            "ca.test; a=\u{7f}",
            "ca.test\n",
            "\u{a0}ca.test",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(IssueValue::parse(b"ca.test\xff"), None);
    }

    #[test]
    fn a_parameter_given_twice_has_no_value() {
        let value = parse("ca.test; a=1; A=1; b=2").unwrap();
        assert_eq!(value.parameter("a"), Err(Ambiguous));
        assert_eq!(value.parameter("B"), Ok(Some("2")));
        assert_eq!(value.parameter("c"), Ok(None));
    }

    #[test]
    fn an_issuer_is_named_in_any_case() {
        let own = ["ca.test".to_owned(), "b.test".to_owned()];
        assert!(parse("CA.Test").unwrap().names(&own));
        for other in [";", "c.test", "x.ca.test", "test"] {
            assert!(!parse(other).unwrap().names(&own), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_not_without_harm(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = IssueValue::parse(&value);
        }

        #[test]
        fn what_is_put_together_by_the_grammar_is_taken_apart_again(
            issuer in "([a-z0-9]{1,4}(\\.[a-z0-9]{1,4}){0,2})?",
            parameters in proptest::collection::vec(("[a-z][a-z0-9]{0,3}", "[!-:<-~]{0,6}"), 0..4),
            space in "[ \t]{0,2}",
        ) {
            let written: Vec<_> = parameters
                .iter()
                .map(|(tag, value)| format!("{space}{tag}{space}={space}{value}{space}"))
                .collect();
            let text = format!("{space}{issuer}{space};{}", written.join(";"));
            let value = parse(&text).expect("it keeps to the grammar");
            prop_assert_eq!(value.issuer.unwrap_or_default(), issuer);
            let read: Vec<_> = value
                .parameters
                .iter()
                .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
                .collect();
            prop_assert_eq!(read, parameters);
        }
    }
}
