//! Identifiers in normal form (RFC 8555 §7.1.3, §9.7.7; RFC 8738; draft-ietf-acme-device-attest).

mod device;
mod dns;
mod ip;

use std::fmt;
use std::net::IpAddr;

use super::problem::{Problem, ProblemType};

/// What may be ordered, in normal form: a DNS name in lower case, as A-labels, without a final dot;
/// an IP address as RFC 5952 §4 writes it; or the identity of a device, octet for octet. Two are equal exactly where they mean the same. The
/// only ways to make one check the whole form.
///
/// Text alone tells names and addresses apart: no DNS name ends in a number or holds a colon. A device
/// has its type in front of it ([`fmt::Display`]), with a colon that makes it neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identifier {
    /// Without the `*.` of a wildcard.
    base: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Name,
    Wildcard,
    Address(IpAddr),
    /// `permanent-identifier`.
    Device,
}

/// In front of a device where text alone must tell what it is.
const DEVICE: &str = "permanent-identifier:";

impl Identifier {
    /// Reads an identifier object's `type` and `value`.
    pub(crate) fn parse(kind: &str, value: &str) -> Result<Self, Problem> {
        match kind {
            "dns" => Self::dns(value),
            "ip" => Self::ip(value),
            "permanent-identifier" => Self::device(value),
            other => Err(Problem::new(
                ProblemType::UnsupportedIdentifier,
                format!(
                    "identifiers of type {:?} are not supported here; use \"dns\", \"ip\" or \
                     \"permanent-identifier\"",
                    shorten(other)
                ),
            )),
        }
    }

    /// Reads a DNS name, possibly with a `*.` in front.
    pub(crate) fn dns(value: &str) -> Result<Self, Problem> {
        let (base, wildcard) = dns::read(value).map_err(|why| refused(value, why))?;
        Ok(Self { base, form: if wildcard { Form::Wildcard } else { Form::Name } })
    }

    /// Reads an IP address.
    pub(crate) fn ip(value: &str) -> Result<Self, Problem> {
        let address = ip::read(value).map_err(|why| refused(value, why))?;
        Ok(Self { base: address.to_string(), form: Form::Address(address) })
    }

    /// Reads the identity of a device (RFC 4043).
    pub(crate) fn device(value: &str) -> Result<Self, Problem> {
        match device::check(value) {
            Ok(()) => Ok(Self { base: value.to_owned(), form: Form::Device }),
            Err(device::Fault::Rejected(why)) => Err(refused(value, why)),
            Err(device::Fault::Malformed(why)) => Err(Problem::malformed(format!(
                "{:?} {why} (draft-ietf-acme-device-attest, permanent-identifier-value)",
                shorten(value)
            ))),
        }
    }

    /// Reads what an operator or a certificate of ours calls by its text alone: what [`Self::from_text`]
    /// reads, or a device with its type in front.
    pub(crate) fn named(text: &str) -> Result<Self, Problem> {
        match text.strip_prefix(DEVICE) {
            Some(value) => Self::device(value),
            None => Self::from_text(text),
        }
    }

    /// Reads what a person or a certificate request calls by its text alone: an IP address where it
    /// is one, else a DNS name.
    pub(crate) fn from_text(text: &str) -> Result<Self, Problem> {
        if text.parse::<IpAddr>().is_ok() { Self::ip(text) } else { Self::dns(text) }
    }

    /// Reads what [`fmt::Display`] wrote, and nothing else.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        Self::named(text).ok().filter(|identifier| identifier.to_string() == text)
    }

    /// The identifier's `type`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.form {
            Form::Name | Form::Wildcard => "dns",
            Form::Address(_) => "ip",
            Form::Device => "permanent-identifier",
        }
    }

    /// The identifier's `value`; a DNS name has the `*.` of a wildcard.
    pub(crate) fn value(&self) -> String {
        if self.is_wildcard() { format!("*.{}", self.base) } else { self.base.clone() }
    }

    /// The identity of the device, where it is one, and who assigned it.
    pub(crate) fn as_device(&self) -> Option<(&str, Option<&str>)> {
        (self.form == Form::Device).then(|| device::parts(&self.base))
    }

    /// Whether a label has an underscore: no host name does (RFC 952, RFC 1123 §2.1).
    pub(crate) fn has_underscore(&self) -> bool {
        self.base.contains('_')
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.form == Form::Wildcard
    }

    /// The address, where it is one.
    pub(crate) fn as_ip(&self) -> Option<IpAddr> {
        match self.form {
            Form::Address(address) => Some(address),
            Form::Name | Form::Wildcard | Form::Device => None,
        }
    }

    /// The DNS name, where it is one, without the `*.` of a wildcard.
    pub(crate) fn dns_name(&self) -> Option<&str> {
        match self.form {
            Form::Name | Form::Wildcard => Some(&self.base),
            Form::Address(_) | Form::Device => None,
        }
    }

    /// Whether it is a DNS name with further labels in front of `ancestor` (RFC 9444 §2). Neither is a
    /// wildcard.
    pub(crate) fn is_below(&self, ancestor: &Self) -> bool {
        self.form == Form::Name
            && ancestor.form == Form::Name
            && self.base.strip_suffix(&ancestor.base).is_some_and(|labels| labels.ends_with('.'))
    }

    /// The DNS names above this one, nearest first; none of an address or a wildcard.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &str> {
        let name = if self.form == Form::Name { self.base.as_str() } else { "" };
        std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.'))
            .map(|(_, ancestor)| ancestor)
    }

    /// What to prove control of: a DNS name without the `*.` (RFC 8555 §7.1.4), or an address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }
}

/// As [`Identifier::stored`] reads it: a DNS name with the `*.` of a wildcard, an address, or a device
/// with its type in front.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Wildcard => f.write_str("*.")?,
            Form::Device => f.write_str(DEVICE)?,
            Form::Name | Form::Address(_) => {}
        }
        f.write_str(&self.base)
    }
}

fn refused(value: &str, why: &str) -> Problem {
    Problem::new(ProblemType::RejectedIdentifier, format!("{:?} {why}", shorten(value)))
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_mean_the_same_are_equal() {
        for same in ["Example.TEST", "example.test.", "EXAMPLE.test"] {
            assert_eq!(Identifier::dns(same).unwrap(), Identifier::dns("example.test").unwrap());
        }
        assert_eq!(Identifier::dns("*.Example.test").unwrap().to_string(), "*.example.test");
    }

    #[test]
    fn a_name_is_below_those_that_end_it_at_a_dot() {
        let id = |text: &str| Identifier::from_text(text).unwrap();
        for (name, ancestor, below) in [
            ("a.b.test", "b.test", true),
            ("a.b.test", "test", true),
            ("b.test", "b.test", false),
            ("b.test", "a.b.test", false),
            ("ab.test", "b.test", false),
            ("*.b.test", "b.test", false),
            ("a.b.test", "*.b.test", false),
            ("10.0.0.1", "1", false),
        ] {
            let ancestor = Identifier::from_text(ancestor);
            let found = ancestor.is_ok_and(|ancestor| id(name).is_below(&ancestor));
            assert_eq!(found, below, "{name}");
        }
        assert_eq!(id("a.b.test").ancestors().collect::<Vec<_>>(), ["b.test", "test"]);
        assert_eq!(id("printer").ancestors().count(), 0);
        assert_eq!(id("*.b.test").ancestors().count(), 0);
        assert_eq!(id("10.0.0.1").ancestors().count(), 0);
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
            "xn--a_b.test",
            "_n--a.test",
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
    fn single_labels_underscores_and_a_labels_pass() {
        for good in [
            "_sip._tcp.test",
            "a_b.test",
            "printer",
            "xn--bcher-kva.test",
            "a.b.c.internal",
            "1.test",
            "test.localhost",
        ] {
            assert_eq!(Identifier::dns(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn addresses_that_mean_the_same_are_equal_and_written_as_rfc_5952_says() {
        for (given, canonical) in [
            ("192.0.2.1", "192.0.2.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("2001:db8::0001:0:0:1", "2001:db8::1:0:0:1"),
            ("::1", "::1"),
            ("fd00::192.0.2.1", "fd00::c000:201"),
        ] {
            let address = Identifier::ip(given).unwrap();
            assert_eq!(address.to_string(), canonical);
            assert_eq!(address, Identifier::parse("ip", canonical).unwrap());
            assert_eq!((address.kind(), address.is_wildcard()), ("ip", false));
            assert_eq!(address.as_ip().map(|ip| ip.to_string()).as_deref(), Some(canonical));
            assert_eq!((address.base(), address.dns_name()), (canonical, None));
        }
    }

    #[test]
    fn addresses_that_no_one_host_has_are_refused() {
        for bad in [
            "",
            "a.test",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "::ffff:192.0.2.1",
            "::ffff:c000:201",
            "fe80::1%eth0",
            "fe80::1%1",
            "[::1]",
            "192.0.2.0/24",
            "192.0.2",
            "192.0.2.01",
            "0xc0.0.2.1",
            "3221225985",
            "192.0.2.1.",
            " 192.0.2.1",
            "*.192.0.2.1",
            "1::2::3",
            "12345::",
        ] {
            let problem = Identifier::ip(bad).expect_err(bad);
            assert_eq!(problem.kind, ProblemType::RejectedIdentifier, "{bad}");
        }
    }

    #[test]
    fn what_was_stored_is_read_back_with_its_type_and_nothing_else_is() {
        for (text, kind) in [
            ("a.test", "dns"),
            ("*.a.test", "dns"),
            ("printer", "dns"),
            ("dead.beef", "dns"),
            ("192.0.2.1", "ip"),
            ("2001:db8::1", "ip"),
            ("::1", "ip"),
        ] {
            let stored = Identifier::stored(text).unwrap();
            assert_eq!((stored.kind(), &*stored.to_string()), (kind, text));
        }
        for bad in ["A.test", "a.test.", "::0", "::ffff:1.2.3.4", "0.0.0.0", "1.2.3", "a..b", ""] {
            assert_eq!(Identifier::stored(bad), None, "{bad}");
        }
    }

    proptest! {
        /// No text is both, and each way of writing an address has one normal form.
        #[test]
        fn every_address_is_read_back_and_is_no_dns_name(address in any::<IpAddr>()) {
            let text = address.to_string();
            prop_assert!(Identifier::dns(&text).is_err());
            if let Ok(identifier) = Identifier::ip(&text) {
                prop_assert_eq!(Identifier::stored(&identifier.to_string()), Some(identifier));
            }
        }

        #[test]
        fn every_dns_name_is_read_back_as_one(text in "(\\*\\.)?[a-zA-Z0-9-]{1,6}(\\.[a-f0-9:.]{1,4}){0,4}") {
            if let Ok(identifier) = Identifier::dns(&text) {
                prop_assert_eq!(identifier.kind(), "dns");
                prop_assert!(Identifier::ip(&identifier.to_string()).is_err());
                prop_assert_eq!(Identifier::stored(&identifier.to_string()), Some(identifier));
            }
        }
    }

    #[test]
    fn an_unknown_type_is_unsupported() {
        let problem = Identifier::parse("email", "a@b.test").expect_err("email is no type here");
        assert_eq!(problem.kind, ProblemType::UnsupportedIdentifier);
    }

    #[test]
    fn a_device_is_what_the_grammar_of_the_draft_makes_octet_for_octet() {
        for good in ["ABCDEF123456", "a b", "Ä", "A/1.2.3.4", "A/0.39", "A/2.999.1", "10.0.0.1"] {
            let device = Identifier::parse("permanent-identifier", good).unwrap();
            assert_eq!((device.kind(), device.value().as_str()), ("permanent-identifier", good));
            assert_eq!(Identifier::stored(&device.to_string()), Some(device), "{good}");
        }
        let with = Identifier::device("A/1.2.3").unwrap();
        assert_eq!(with.as_device(), Some(("A", Some("1.2.3"))));
        assert_ne!(Identifier::device("a").unwrap(), Identifier::device("A").unwrap());
        assert_ne!(Identifier::device("a.test").ok(), Identifier::dns("a.test").ok());
        for bad in
            ["", "/1.2", "A/", "A/1", "A/1.2/3", "A/1.40", "A/3.1", "A/01.2", "A/1.02", "A/x"]
        {
            let problem = Identifier::device(bad).unwrap_err();
            assert_eq!(problem.kind, ProblemType::Malformed, "{bad}");
        }
        for rejected in ["a\0b", "a\nb", &"a".repeat(129)] {
            let problem = Identifier::device(rejected).unwrap_err();
            assert_eq!(problem.kind, ProblemType::RejectedIdentifier, "{rejected}");
        }
        // By its text alone nothing is a device unless it says so.
        assert!(Identifier::from_text("permanent-identifier:A").is_err());
    }
}
