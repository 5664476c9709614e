//! The name space of a CA (RFC 5280 §4.2.1.10).

use std::fmt;
use std::net::IpAddr;

use x509_cert::ext::pkix;
use x509_cert::ext::pkix::name::GeneralName;

/// The DNS names, addresses and directory names that may stand in certificates below a CA's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameConstraints {
    /// Of each type that stands here at all, only names in one of its subtrees may stand there.
    permitted: Subtrees,
    excluded: Subtrees,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Subtrees {
    /// In lower case; with a dot in front, the name itself is not meant.
    dns: Vec<String>,
    networks: Vec<Network>,
    /// Whether there are directoryNames.
    directories: bool,
}

/// An address and a mask of as many octets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Network {
    base: Vec<u8>,
    mask: Vec<u8>,
}

/// Which constraint keeps a name out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    NotPermitted(String),
    Excluded(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(subtrees) => write!(f, "permitted {subtrees}"),
            Self::Excluded(subtree) => write!(f, "excluded {subtree}"),
        }
    }
}

impl NameConstraints {
    /// `None` where it says what RFC 5280 does not let it say: nobody knows what clients make of it.
    pub(super) fn read(extension: pkix::NameConstraints) -> Option<Self> {
        let pkix::NameConstraints { permitted_subtrees, excluded_subtrees } = extension;
        let read = |subtrees: Option<_>| Subtrees::read(subtrees.unwrap_or_default());
        Some(Self { permitted: read(permitted_subtrees)?, excluded: read(excluded_subtrees)? })
    }

    /// Whether a certificate may have this dNSName; a wildcard is one for all that it is good for.
    pub(crate) fn check_dns(&self, name: &str) -> Result<(), Violation> {
        let (name, wildcard) = match name.strip_prefix("*.") {
            Some(base) => (base, true),
            None => (name, false),
        };
        let excluded = self.excluded.dns.iter().find(|base| touches(base, name, wildcard));
        if let Some(base) = excluded {
            return Err(Violation::Excluded(format!("{base:?}")));
        }
        let permitted = &self.permitted.dns;
        if permitted.is_empty() || permitted.iter().any(|base| covers(base, name, wildcard)) {
            return Ok(());
        }
        Err(Violation::NotPermitted(list(permitted.iter().map(|base| format!("{base:?}")))))
    }

    /// Whether a certificate may have this iPAddress.
    pub(crate) fn check_ip(&self, address: IpAddr) -> Result<(), Violation> {
        let has = |network: &&Network| network.contains(address);
        if let Some(network) = self.excluded.networks.iter().find(has) {
            return Err(Violation::Excluded(network.to_string()));
        }
        let permitted = &self.permitted.networks;
        if permitted.is_empty() || permitted.iter().any(|network| has(&network)) {
            return Ok(());
        }
        Err(Violation::NotPermitted(list(permitted.iter().map(Network::to_string))))
    }

    /// Whether a certificate may have a subject of a common name alone: no directoryName that a CA
    /// would be held to has nothing but that.
    pub(crate) fn allows_common_name(&self) -> bool {
        !self.permitted.directories && !self.excluded.directories
    }
}

impl Subtrees {
    fn read(subtrees: Vec<pkix::constraints::name::GeneralSubtree>) -> Option<Self> {
        let mut read = Self::default();
        for subtree in subtrees {
            if subtree.minimum != 0 || subtree.maximum.is_some() {
                return None;
            }
            match subtree.base {
                GeneralName::DnsName(name) => read.dns.push(name.as_str().to_ascii_lowercase()),
                GeneralName::IpAddress(octets) => {
                    read.networks.push(Network::read(octets.as_bytes())?);
                }
                GeneralName::DirectoryName(_) => read.directories = true,
                // Of types that no certificate of ours has.
                _ => {}
            }
        }
        Some(read)
    }
}

/// Whether all names are meant.
fn covers(base: &str, name: &str, wildcard: bool) -> bool {
    match base.strip_prefix('.') {
        Some(above) => is_below(name, above) || (wildcard && name == above),
        None => base.is_empty() || name == base || is_below(name, base),
    }
}

/// Whether some names are meant: of a wildcard, one that it is good for.
fn touches(base: &str, name: &str, wildcard: bool) -> bool {
    let good_for = |base: &str| base.split_once('.').is_some_and(|(_, above)| above == name);
    covers(base, name, wildcard) || (wildcard && !base.starts_with('.') && good_for(base))
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|labels| labels.ends_with('.'))
}

impl Network {
    fn read(octets: &[u8]) -> Option<Self> {
        if !matches!(octets.len(), 8 | 32) {
            return None;
        }
        let (base, mask) = octets.split_at(octets.len() / 2);
        Some(Self { base: base.to_vec(), mask: mask.to_vec() })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        octets.len() == self.base.len()
            && octets.iter().zip(&self.base).zip(&self.mask).all(|((a, b), m)| a & m == b & m)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |octets: &[u8]| match <[u8; 4]>::try_from(octets) {
            Ok(octets) => IpAddr::from(octets).to_string(),
            Err(_) => <[u8; 16]>::try_from(octets)
                .map_or_else(|_| String::new(), |octets| IpAddr::from(octets).to_string()),
        };
        write!(f, "{}/{}", address(&self.base), address(&self.mask))
    }
}

fn list(subtrees: impl Iterator<Item = String>) -> String {
    subtrees.collect::<Vec<_>>().join(", ")
}
