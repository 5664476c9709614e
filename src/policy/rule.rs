//! Which line of `kipuka.toml` decides, or which certificate.

use std::fmt;

/// Where a key of the policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere: kipuka's own default.
    Default,
    /// `[policy]`
    Policy,
    /// `[ca.policy]`
    CaPolicy,
    /// Not in the file: in a certificate of the CA's chain.
    Certificate,
}

impl Origin {
    /// The name of the section; `None` where no section has it.
    pub(crate) fn section(self) -> Option<&'static str> {
        match self {
            Self::Default | Self::Certificate => None,
            Self::Policy => Some("policy"),
            Self::CaPolicy => Some("ca.policy"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.section() {
            None if *self == Self::Certificate => f.write_str("in the CA's certificate"),
            None => f.write_str("by default"),
            Some(section) => write!(f, "in [{section}]"),
        }
    }
}

/// What decided: a key with the value that matters, as an operator finds it in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) key: &'static str,
    /// As TOML writes it; `None` where nothing in the list matched.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin } = self;
        match value {
            Some(value) => write!(f, "{key} = {value} {origin}"),
            None if *origin == Origin::Default => write!(f, "no {key} is set"),
            None => write!(f, "nothing matches in {key} {origin}"),
        }
    }
}

/// Why something is not issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) rule: Rule,
    /// What may be done instead, or what the rule is for: the end of a sentence.
    pub(crate) why: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.why, self.rule)
    }
}
