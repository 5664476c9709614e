//! `[limits]`: what one client may take, so that the others have theirs.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::reader::{Section, shortened};

pub(super) const KEYS: &[&str] = &[
    "connections",
    "connections_per_address",
    "requests_per_second_per_address",
    "requests_burst_per_address",
    "requests_per_second_per_account",
    "requests_burst_per_account",
    "accounts_per_address_per_hour",
    "orders_per_account_per_hour",
    "pending_orders_per_account",
    "pending_authorizations_per_account",
    "failed_validations_per_hour",
    "at_once_per_account",
    "exempt_networks",
    "trusted_proxies",
    "proxy_header",
];

/// What a proxy says of whom it speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// The PROXY protocol, version 1 or 2, before anything else on the connection.
    ProxyProtocol,
    /// `X-Forwarded-For` in each request.
    ForwardedFor,
}

/// `[limits]`. Where a limit is 0 there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// At once on each listener; 16 at least.
    pub(crate) connections: u32,
    pub(crate) connections_per_address: u32,
    pub(crate) requests_per_second_per_address: u32,
    /// What an address may ask at once after it was silent; 1 at least.
    pub(crate) requests_burst_per_address: u32,
    pub(crate) requests_per_second_per_account: u32,
    pub(crate) requests_burst_per_account: u32,
    pub(crate) accounts_per_address_per_hour: u32,
    pub(crate) orders_per_account_per_hour: u32,
    /// Orders that may still become valid and are not.
    pub(crate) pending_orders_per_account: u32,
    pub(crate) pending_authorizations_per_account: u32,
    /// Of one account and name.
    pub(crate) failed_validations_per_hour: u32,
    /// Validations, and certificates being issued, of one account in one instance; 1 at least.
    pub(crate) at_once_per_account: u32,
    /// Whose addresses are not counted, but their accounts are.
    pub(crate) exempt_networks: Vec<IpNet>,
    /// Who is believed when it says for whom it speaks.
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) proxy_header: ProxyHeader,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            requests_per_second_per_address: 500,
            requests_burst_per_address: 5000,
            requests_per_second_per_account: 200,
            requests_burst_per_account: 5000,
            accounts_per_address_per_hour: 5000,
            orders_per_account_per_hour: 20_000,
            pending_orders_per_account: 5000,
            pending_authorizations_per_account: 10_000,
            failed_validations_per_hour: 60,
            at_once_per_account: 32,
            exempt_networks: vec![
                IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
                IpNet::new_assert(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128),
            ],
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::ProxyProtocol,
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let limit = |key, range: RangeInclusive<u64>, default: u32| {
        let given = section.integer(key, range);
        given.and_then(|given| u32::try_from(given).ok()).unwrap_or(default)
    };
    macro_rules! limits {
        ($($key:ident: $range:expr),+ $(,)?) => {
            Limits {
                $($key: limit(stringify!($key), $range, default.$key),)+
                exempt_networks: section.networks("exempt_networks")
                    .unwrap_or(default.exempt_networks),
                trusted_proxies: section.networks("trusted_proxies")
                    .unwrap_or(default.trusted_proxies),
                proxy_header: proxy_header(section),
            }
        };
    }
    limits! {
        connections: 16..=1_000_000,
        connections_per_address: 0..=1_000_000,
        requests_per_second_per_address: 0..=1_000_000,
        requests_burst_per_address: 1..=1_000_000,
        requests_per_second_per_account: 0..=1_000_000,
        requests_burst_per_account: 1..=1_000_000,
        accounts_per_address_per_hour: 0..=1_000_000,
        orders_per_account_per_hour: 0..=1_000_000,
        pending_orders_per_account: 0..=100_000,
        pending_authorizations_per_account: 0..=100_000,
        failed_validations_per_hour: 0..=10_000,
        at_once_per_account: 1..=128,
    }
}

fn proxy_header(section: &Section<'_>) -> ProxyHeader {
    let Some(text) = section.string("proxy_header") else { return ProxyHeader::ProxyProtocol };
    match text.value {
        "proxy-protocol" => ProxyHeader::ProxyProtocol,
        "x-forwarded-for" => ProxyHeader::ForwardedFor,
        other => {
            let what = format!("`{}` is not understood", shortened(other));
            let remedy = "write \"proxy-protocol\" or \"x-forwarded-for\"";
            section.reader.mistake(&text.place, what, remedy);
            ProxyHeader::ProxyProtocol
        }
    }
}
