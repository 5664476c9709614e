//! What a rule about names is written as. What it matches is for `policy` to say.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Names or addresses that a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamePattern {
    /// `*`: every DNS name.
    Everything,
    /// `example.test`: that name and no other.
    Exactly(String),
    /// `.example.test`: every name below it, however deep, and not itself.
    Below(String),
    /// `*.example.test`: every name one label below it, as a wildcard certificate has it.
    OneBelow(String),
    /// `192.0.2.0/24`, `2001:db8::1`: addresses.
    Network(IpNet),
}

/// Reads a pattern in any case and with or without a final dot.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
impl FromStr for NamePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        if address.parse::<IpAddr>().is_ok() {
            return network(text).map(Self::Network);
        }
        if !text.is_ascii() {
            return Err("is not ASCII: write A-labels (xn--…)");
        }
        let folded = text.to_ascii_lowercase();
        if folded == "*" {
            return Ok(Self::Everything);
        }
        let folded = folded.strip_suffix('.').unwrap_or(&folded);
        if let Some(base) = folded.strip_prefix("*.") {
            return name(base).map(Self::OneBelow);
        }
        match folded.strip_prefix('.') {
            Some(base) => name(base).map(Self::Below),
            None => name(folded).map(Self::Exactly),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Exactly(name) => f.write_str(name),
            Self::Below(name) => write!(f, ".{name}"),
            Self::OneBelow(name) => write!(f, "*.{name}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    let bare = || text.parse().map(|address: IpAddr| IpNet::from(address));
    let network = text.parse::<IpNet>().or_else(|_| bare()).map_err(|_| "is not a network")?;
    if network.addr() != network.network() {
        return Err("has bits behind its prefix: is the network meant, or the address?");
    }
    match network {
        // No identifier is in it (see `acme::identifier`), so the rule would do nothing.
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            Err("is an IPv4 network mapped to IPv6")
        }
        _ => Ok(network),
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("is not a name, nor a suffix");
    }
    if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("ends in a number, as no name does");
    }
    Ok(text.to_owned())
}
