//! Rules of names: which identifiers are meant, in the words of an operator.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::identifier::Identifier;

/// A rule that says of an identifier whether it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// `example.test`: this name alone.
    Name(String),
    /// `.example.test`: every name below, wildcards too, but not the name itself.
    Below(String),
    /// `10.0.0.0/8`, or one address: the addresses in it.
    Network(IpNet),
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameRuleError {
    #[error(
        "{0:?} has a wildcard: write .example.test for all names below example.test, wildcards too"
    )]
    Wildcard(String),
    #[error("{0:?} is no network: write the first address and a length, such as 10.0.0.0/8")]
    Network(String),
    #[error("{0}")]
    Name(String),
}

impl NameRule {
    pub(crate) fn permits(&self, identifier: &Identifier) -> bool {
        match (self, identifier.dns_name(), identifier.as_ip()) {
            (Self::Name(rule), Some(name), _) => name == rule && !identifier.is_wildcard(),
            (Self::Below(parent), Some(name), _) => match name.strip_suffix(parent.as_str()) {
                // `*.example.test` is every name below, so it is one of them.
                Some("") => identifier.is_wildcard(),
                Some(rest) => rest.ends_with('.'),
                None => false,
            },
            (Self::Network(network), _, Some(address)) => network.contains(&address),
            _ => false,
        }
    }
}

impl FromStr for NameRule {
    type Err = NameRuleError;

    fn from_str(text: &str) -> Result<Self, NameRuleError> {
        if text.contains('/') {
            let network = text.parse::<IpNet>().ok();
            // With bits of a host behind the length, one cannot know which of the two was meant.
            return network
                .filter(|network| network.addr() == network.network())
                .map(Self::Network)
                .ok_or_else(|| NameRuleError::Network(text.to_owned()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let (below, name) = match text.strip_prefix('.') {
            Some(parent) => (true, parent),
            None => (false, text),
        };
        let name = Identifier::dns(name).map_err(|problem| NameRuleError::Name(problem.detail))?;
        if name.is_wildcard() {
            return Err(NameRuleError::Wildcard(text.to_owned()));
        }
        let name = name.base().to_owned();
        Ok(if below { Self::Below(name) } else { Self::Name(name) })
    }
}

/// As it is read.
impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(parent) => write!(f, ".{parent}"),
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_means_these_and_no_others() {
        for (rule, meant, others) in [
            (
                "example.test",
                &["example.test", "EXAMPLE.test."][..],
                &["a.example.test", "*.example.test", "example.test.test", "xexample.test"][..],
            ),
            (
                ".Example.test",
                &["a.example.test", "a.b.example.test", "*.example.test", "*.a.example.test"],
                &["example.test", "*.test", "xexample.test", "*.xexample.test", "10.0.0.1"],
            ),
            (".test", &["a.test", "*.test", "*.a.test"], &["test", "atest"]),
            ("10.0.0.0/8", &["10.0.0.1", "10.255.255.254"], &["11.0.0.1", "a.test", "::1"]),
            ("192.0.2.1", &["192.0.2.1"], &["192.0.2.2"]),
            ("2001:db8::/32", &["2001:db8::1"], &["2001:db9::1", "192.0.2.1"]),
            ("0.0.0.0/0", &["192.0.2.1"], &["2001:db8::1"]),
        ] {
            let rule: NameRule = rule.parse().unwrap();
            for name in meant {
                assert!(rule.permits(&Identifier::from_text(name).unwrap()), "{rule}: {name}");
            }
            for name in others {
                assert!(!rule.permits(&Identifier::from_text(name).unwrap()), "{rule}: {name}");
            }
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            ".",
            "..test",
            "*.example.test",
            ".*.example.test",
            "*",
            "a b",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "example.test/8",
            "bücher.test",
            "::1/0",
        ] {
            assert!(bad.parse::<NameRule>().is_err(), "{bad:?}");
        }
    }
}
