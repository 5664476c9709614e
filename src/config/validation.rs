//! `[validation]`: how kipuka looks at the names that it is to certify.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::reader::{Section, shortened};

pub(super) const KEYS: &[&str] = &[
    "resolvers",
    "http_port",
    "https_port",
    "tls_alpn_port",
    "denied_networks",
    "resolve_localhost",
    "timeout_s",
    "attempts",
    "reuse_hours",
    "require_dnssec",
];

/// `[validation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validation {
    /// DNS servers; empty: the system's.
    pub(crate) resolvers: Vec<SocketAddr>,
    /// Where http-01 is asked (RFC 8555 §8.3: 80).
    pub(crate) http_port: u16,
    /// Where a redirect of http-01 to https may lead.
    pub(crate) https_port: u16,
    /// Where tls-alpn-01 is asked (RFC 8737 §3: 443).
    pub(crate) tls_alpn_port: u16,
    /// Addresses that are never connected to. Unless set, the link-local ones, where clouds keep
    /// their secrets.
    pub(crate) denied_networks: Vec<IpNet>,
    /// `localhost` and the names under it are this machine, without asking DNS (RFC 6761 §6.3).
    pub(crate) resolve_localhost: bool,
    /// How long one attempt may take, 1 to 60 s.
    pub(crate) timeout: Duration,
    /// How often a challenge is tried before it is invalid, 1 to 20.
    pub(crate) attempts: u32,
    /// How long a proof serves for other orders of the same account: 0, which is never, to 168 h.
    pub(crate) reuse: Duration,
    /// TXT and CAA answers count only where the resolver says that DNSSEC proves them.
    pub(crate) require_dnssec: bool,
}

pub(super) fn read(section: &Section<'_>) -> Validation {
    Validation {
        resolvers: resolvers(section),
        http_port: port(section, "http_port", 80),
        https_port: port(section, "https_port", 443),
        tls_alpn_port: port(section, "tls_alpn_port", 443),
        denied_networks: denied_networks(section),
        resolve_localhost: section.boolean("resolve_localhost").unwrap_or(false),
        timeout: Duration::from_secs(section.integer("timeout_s", 1..=60).unwrap_or(10)),
        attempts: section
            .integer("attempts", 1..=20)
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(3),
        reuse: Duration::from_secs(3600 * section.integer("reuse_hours", 0..=168).unwrap_or(24)),
        require_dnssec: section.boolean("require_dnssec").unwrap_or(false),
    }
}

fn port(section: &Section<'_>, key: &str, default: u16) -> u16 {
    let port = section.integer(key, 1..=65_535);
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(default)
}

fn resolvers(section: &Section<'_>) -> Vec<SocketAddr> {
    let mut resolvers = Vec::new();
    for text in section.strings("resolvers").unwrap_or_default() {
        let bare = || text.value.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53));
        match text.value.parse::<SocketAddr>().or_else(|_| bare()) {
            Ok(resolver) if resolver.port() != 0 => resolvers.push(resolver),
            _ => section.reader.mistake(
                &text.place,
                format!("`{}` is not the address of a DNS server", shortened(text.value)),
                "write \"192.0.2.53\" or, with a port, \"127.0.0.1:8053\", \"[::1]:8053\"",
            ),
        }
    }
    resolvers
}

fn denied_networks(section: &Section<'_>) -> Vec<IpNet> {
    section.networks("denied_networks").unwrap_or_else(|| {
        vec![
            Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16).into(),
            Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10).into(),
        ]
    })
}
