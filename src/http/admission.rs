//! Who is let in: connections and requests are counted by address, and requests by account (RFC 8555 §6.6).
//!
//! These counts are of this instance alone. What must hold for all instances together is counted in the
//! database, by the flows.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;

use crate::acme::problem::Problem;
use crate::config::{Limits, ProxyHeader};
use crate::policy::network_of;
use crate::telemetry::metrics::LimitMetrics;

/// Addresses, or accounts, that are remembered at most: some hundred bytes each.
const MAX_KEYS: usize = 100_000;
/// After how many requests to look how many there are.
const LOOK_EVERY: u32 = 1024;

/// Where proxies that make requests say for whom.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A trusted proxy's `X-Forwarded-For` names no address where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X-Forwarded-For does not end with an IP address, as it must from a trusted proxy")]
pub(crate) struct UnreadableForwardedFor;

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The client's own, where a trusted proxy told it.
    pub(crate) address: SocketAddr,
    /// This server's, on the connection.
    pub(crate) local: Option<IpAddr>,
    exempt: bool,
}

impl Caller {
    /// What the client is counted by; `None` where it is not.
    pub(crate) fn counted(&self) -> Option<IpNet> {
        (!self.exempt).then(|| network_of(self.address.ip()))
    }
}

/// The counts, and the limits that they are held against; a reload exchanges the limits.
pub(crate) struct Admission {
    rules: ArcSwap<Rules>,
    connections: Mutex<HashMap<IpNet, u32>>,
    metrics: LimitMetrics,
}

struct Rules {
    limits: Limits,
    by_network: Option<Buckets<IpNet>>,
    by_account: Option<Buckets<String>>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits, metrics: LimitMetrics) -> Arc<Self> {
        let rules = Rules {
            by_network: by_network(limits),
            by_account: by_account(limits),
            limits: limits.clone(),
        };
        Arc::new(Self {
            rules: ArcSwap::from_pointee(rules),
            connections: Mutex::default(),
            metrics,
        })
    }

    /// Takes new limits over; everybody begins anew.
    pub(crate) fn reload(&self, limits: &Limits) {
        if self.rules.load().limits == *limits {
            return;
        }
        self.rules.store(Arc::new(Rules {
            by_network: by_network(limits),
            by_account: by_account(limits),
            limits: limits.clone(),
        }));
    }

    /// Connections at once on a listener.
    pub(crate) fn connections(&self) -> usize {
        usize::try_from(self.rules.load().limits.connections).unwrap_or(usize::MAX)
    }

    /// Whether whoever connects from there must begin with the PROXY protocol.
    pub(crate) fn speaks_proxy_protocol(&self, peer: IpAddr) -> bool {
        let limits = &self.rules.load().limits;
        limits.proxy_header == ProxyHeader::ProxyProtocol && contains(&limits.trusted_proxies, peer)
    }

    /// Whether whoever connects from there makes requests for others, and is to be believed.
    pub(crate) fn makes_requests(&self, peer: IpAddr) -> bool {
        let limits = &self.rules.load().limits;
        limits.proxy_header == ProxyHeader::ForwardedFor && contains(&limits.trusted_proxies, peer)
    }

    /// A place for a connection from there; `None` where the address has as many as it may.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Connected> {
        let limits = &self.rules.load().limits;
        let most = limits.connections_per_address;
        let is_proxy = contains(&limits.trusted_proxies, address);
        let counted = most > 0 && !is_proxy && !contains(&limits.exempt_networks, address);
        let network = counted.then(|| network_of(address));
        if let Some(network) = network {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            let count = connections.entry(network).or_default();
            if *count >= most {
                self.metrics.refused("connections_per_address");
                return None;
            }
            *count += 1;
        }
        Some(Connected { admission: Arc::clone(self), network })
    }

    /// Who sends a request on a connection from `peer`: of a trusted proxy that says so, the last address in
    /// `X-Forwarded-For` that is not a trusted proxy's itself. From anybody else the header says nothing.
    ///
    /// # Errors
    /// What a trusted proxy wrote there cannot be read: then nobody knows whose request this is, and what
    /// stands before it is anybody's claim.
    pub(crate) fn caller(
        &self,
        peer: SocketAddr,
        local: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Caller, UnreadableForwardedFor> {
        let limits = &self.rules.load().limits;
        let mut address = peer;
        if self.makes_requests(peer.ip()) {
            let lines = headers.get_all(FORWARDED_FOR).iter().rev();
            // As bytes: one that is no text must not hide its whole line.
            for element in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
                let ip = forwarded(element).ok_or(UnreadableForwardedFor)?;
                address = SocketAddr::new(ip, 0);
                if !contains(&limits.trusted_proxies, ip) {
                    break;
                }
            }
        }
        Ok(Caller { address, local, exempt: contains(&limits.exempt_networks, address.ip()) })
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// It has asked as often as it may.
    pub(crate) fn admit_address(&self, caller: &Caller) -> Result<(), Problem> {
        let rules = self.rules.load();
        let (Some(buckets), Some(network)) = (&rules.by_network, caller.counted()) else {
            return Ok(());
        };
        buckets.take(&network).map_err(|wait| {
            let key = "requests_per_second_per_address";
            self.metrics.refused(key);
            Problem::rate_limited("this address asks too much too fast", key, wait)
        })
    }

    /// Counts a request that an account has signed.
    ///
    /// # Errors
    /// It has asked as often as it may.
    pub(crate) fn admit_account(&self, account_id: &str) -> Result<(), Problem> {
        let rules = self.rules.load();
        let Some(buckets) = &rules.by_account else { return Ok(()) };
        buckets.take(&account_id.to_owned()).map_err(|wait| {
            let key = "requests_per_second_per_account";
            self.metrics.refused(key);
            Problem::rate_limited("the account asks too much too fast", key, wait)
        })
    }

    /// For what is served without ACME: counts the request, and answers it where that was one too many.
    pub(crate) async fn guard(
        State(admission): State<Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Response {
        let refused = request
            .extensions()
            .get::<Caller>()
            .and_then(|caller| admission.admit_address(caller).err());
        match refused {
            None => next.run(request).await,
            Some(problem) => {
                let seconds = problem.retry_after_s.unwrap_or(1).to_string();
                let retry_after = [(header::RETRY_AFTER, seconds)];
                let text = format!("{}\n", problem.detail);
                (StatusCode::TOO_MANY_REQUESTS, retry_after, text).into_response()
            }
        }
    }
}

/// One connection of an address, until this is dropped.
pub(crate) struct Connected {
    admission: Arc<Admission>,
    network: Option<IpNet>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let connections = &self.admission.connections;
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&network);
            }
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// An address as proxies write it: some with a port, and then that of IPv6 in brackets.
fn forwarded(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn by_network(limits: &Limits) -> Option<Buckets<IpNet>> {
    Buckets::new(limits.requests_per_second_per_address, limits.requests_burst_per_address)
}

fn by_account(limits: &Limits) -> Option<Buckets<String>> {
    Buckets::new(limits.requests_per_second_per_account, limits.requests_burst_per_account)
}

/// A token bucket for each key, of which no more than so many are remembered.
struct Buckets<K: Hash + Eq + Clone> {
    limiter: ArcSwap<RateLimiter<K, HashMapStateStore<K>, DefaultClock>>,
    clock: DefaultClock,
    quota: Quota,
    taken: AtomicU32,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// `None` where there is no limit.
    fn new(per_second: u32, burst: u32) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(per_second)?)
            .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN));
        Some(Self {
            limiter: ArcSwap::from_pointee(RateLimiter::hashmap(quota)),
            clock: DefaultClock::default(),
            quota,
            taken: AtomicU32::new(0),
        })
    }

    /// Takes one of a key's tokens. Whoever is refused loses none by it: asking again too soon makes
    /// nothing worse.
    ///
    /// # Errors
    /// How long it takes until there is one.
    fn take(&self, key: &K) -> Result<(), Duration> {
        if self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            self.shed();
        }
        let limiter = self.limiter.load();
        limiter.check_key(key).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets those whose bucket is full again; where too many are left, all.
    fn shed(&self) {
        let limiter = self.limiter.load();
        if limiter.len() < MAX_KEYS {
            return;
        }
        limiter.retain_recent();
        limiter.shrink_to_fit();
        if limiter.len() >= MAX_KEYS / 2 {
            self.limiter.store(Arc::new(RateLimiter::hashmap(self.quota)));
        }
    }
}

#[cfg(test)]
mod tests;
