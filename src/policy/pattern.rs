//! What a pattern matches.

pub(crate) use crate::config::NamePattern;

use crate::acme::identifier::Identifier;

impl NamePattern {
    /// Whether everything that the identifier stands for is meant: of a wildcard, every name that
    /// it is good for.
    pub(crate) fn covers(&self, identifier: &Identifier) -> bool {
        let Some(name) = identifier.dns_name() else { return self.has_address(identifier) };
        let wildcard = identifier.is_wildcard();
        match self {
            Self::Everything => true,
            Self::Exactly(exact) => name == exact && !wildcard,
            Self::Below(base) => is_below(name, base) || (wildcard && name == base),
            Self::OneBelow(base) if wildcard => name == base,
            Self::OneBelow(base) => is_one_below(name, base),
            Self::Network(_) => false,
        }
    }

    /// Whether something that the identifier stands for is meant: of a wildcard, one of the names
    /// that it is good for.
    pub(crate) fn touches(&self, identifier: &Identifier) -> bool {
        let one_of_its_names = match (self, identifier.dns_name()) {
            (Self::Exactly(exact), Some(name)) if identifier.is_wildcard() => {
                is_one_below(exact, name)
            }
            _ => false,
        };
        one_of_its_names || self.covers(identifier)
    }

    fn has_address(&self, identifier: &Identifier) -> bool {
        match (self, identifier.as_ip()) {
            (Self::Network(network), Some(address)) => network.contains(&address),
            _ => false,
        }
    }
}

fn is_below(name: &str, base: &str) -> bool {
    labels_above(name, base).is_some()
}

fn is_one_below(name: &str, base: &str) -> bool {
    labels_above(name, base).is_some_and(|labels| !labels.contains('.'))
}

/// What stands in front of `.base`.
fn labels_above<'n>(name: &'n str, base: &str) -> Option<&'n str> {
    name.strip_suffix(base)?.strip_suffix('.')
}
