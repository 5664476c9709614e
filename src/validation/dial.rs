//! From a host's name to a connection: resolve, strike out what is forbidden, then connect to the
//! very address that was checked, so that a second answer of DNS cannot lead elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::denied::DeniedNetworks;
use super::dns::{LookupError, Resolver};
use super::outcome::{Failure, seconds};
use crate::acme::problem::ProblemType;

/// As many addresses of each family as are tried.
const MAX_OF_A_FAMILY: usize = 2;

#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) resolver: Resolver,
    pub(super) denied: DeniedNetworks,
    pub(super) localhost_is_this_machine: bool,
    pub(super) connect_timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("{host} is {address}, which is in {network}; validation may not connect there")]
    Denied { host: String, address: IpAddr, network: IpNet },
    #[error("cannot connect to {host}: {}", list(.tried))]
    Connect { host: String, tried: Vec<(SocketAddr, ConnectError)> },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no answer within {}", seconds(*.0))]
    Timeout(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Lookup(lookup) => lookup.into(),
            Error::Denied { .. } => Self::refused(ProblemType::Connection, error.to_string()),
            Error::Connect { .. } => Self::unreachable(ProblemType::Connection, error.to_string()),
        }
    }
}

impl Dialer {
    /// Connects to the first address that accepts, IPv6 before IPv4 (RFC 8555 §8.3 leaves the
    /// choice to the server; the other family is tried so that a stale AAAA does no harm).
    pub(super) async fn connect(
        &self,
        host: &Host<&str>,
        port: u16,
        deadline: Instant,
    ) -> Result<(TcpStream, SocketAddr), Error> {
        let mut tried = Vec::new();
        for address in self.permitted(host, deadline).await? {
            let peer = SocketAddr::new(address, port);
            let began = Instant::now();
            let until = deadline.min(began + self.connect_timeout);
            match timeout_at(until, TcpStream::connect(peer)).await {
                Ok(Ok(stream)) => return Ok((stream, peer)),
                Ok(Err(error)) => tried.push((peer, error.into())),
                Err(_) => tried.push((peer, ConnectError::Timeout(until - began))),
            }
        }
        Err(Error::Connect { host: host.to_string(), tried })
    }

    /// The addresses to try, in order; at least one.
    async fn permitted(&self, host: &Host<&str>, deadline: Instant) -> Result<Vec<IpAddr>, Error> {
        let (mut v6, mut v4) = (Vec::new(), Vec::new());
        let mut denied = None;
        for address in self.addresses(host, deadline).await? {
            let address = address.to_canonical();
            match self.denied.forbids(address) {
                Some(network) => {
                    let host = host.to_string();
                    denied.get_or_insert(Error::Denied { host, address, network });
                }
                None if address.is_ipv6() => v6.push(address),
                None => v4.push(address),
            }
        }
        v6.truncate(MAX_OF_A_FAMILY);
        v4.truncate(MAX_OF_A_FAMILY);
        v6.append(&mut v4);
        match denied {
            Some(denied) if v6.is_empty() => Err(denied),
            _ => Ok(v6),
        }
    }

    async fn addresses(
        &self,
        host: &Host<&str>,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, LookupError> {
        match *host {
            Host::Ipv4(address) => Ok(vec![address.into()]),
            Host::Ipv6(address) => Ok(vec![address.into()]),
            Host::Domain(name) if self.localhost_is_this_machine && is_localhost(name) => {
                Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()])
            }
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                Ok(self.resolver.addresses(name, deadline).await?.values)
            }
        }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn list(tried: &[(SocketAddr, ConnectError)]) -> String {
    let each: Vec<String> = tried.iter().map(|(peer, error)| format!("{peer}: {error}")).collect();
    each.join("; ")
}
