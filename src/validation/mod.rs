//! Proof of control over the network (RFC 8555 §8): one attempt, one [`Outcome`]. When to try
//! again, and when to give up, is the caller's to say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::system_conf::read_system_conf;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::problem::ProblemType;
use crate::clock::Timestamp;
use crate::telemetry::metrics::ValidationMetrics;

mod caa;
mod denied;
mod dial;
mod dns;
mod dns01;
mod dns_persist01;
mod fetch;
mod http01;
mod issue_value;
mod outcome;
mod tls;
mod tls_alpn01;

#[cfg(test)]
mod tests;

pub(crate) use caa::CaaQuestion;
pub(crate) use outcome::{Evidence, Outcome};
#[cfg(fuzzing)]
pub(crate) use {
    dns::fuzz as fuzz_dns, http01::fuzz as fuzz_http01, tls_alpn01::fuzz as fuzz_tls_alpn01,
};

use denied::DeniedNetworks;
use dial::Dialer;
use dns::Resolver;
use http01::Http01;
use outcome::Failure;
use tls_alpn01::TlsAlpn01;

/// Where validation may go, and how long it may take. The defaults are those of RFC 8555 §8.3
/// and RFC 8737 §3: ports 80 and 443.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Recursive resolvers, asked in this order; empty means those of `/etc/resolv.conf`, as it
    /// stands when the [`Validator`] is made.
    pub(crate) resolvers: Vec<SocketAddr>,
    pub(crate) http_port: u16,
    /// Where an http-01 redirect to an https URL goes, if it names no port.
    pub(crate) https_port: u16,
    pub(crate) tls_alpn_port: u16,
    /// Refused in addition to what is refused always: the metadata addresses of cloud machines,
    /// multicast, unspecified and broadcast addresses.
    pub(crate) denied_networks: Vec<IpNet>,
    /// `localhost` and the names under it are `127.0.0.1` and `::1`, without asking DNS
    /// (RFC 6761 §6.3).
    pub(crate) localhost_is_this_machine: bool,
    /// TXT and CAA answers count only where the resolver says that DNSSEC proves them (AD bit).
    pub(crate) require_dnssec: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) metrics: ValidationMetrics,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// The whole attempt, with all its queries and redirects.
    pub(crate) attempt: Duration,
    /// One TCP connection to one address.
    pub(crate) connect: Duration,
    /// One question to one resolver, with its repetitions.
    pub(crate) query: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(10),
            connect: Duration::from_secs(2),
            query: Duration::from_secs(3),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            http_port: 80,
            https_port: 443,
            tls_alpn_port: 443,
            denied_networks: Vec::new(),
            localhost_is_this_machine: true,
            require_dnssec: false,
            timeouts: Timeouts::default(),
            metrics: ValidationMetrics::default(),
        }
    }
}

/// One attempt to validate one challenge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) method: ChallengeType,
    pub(crate) identifier: &'a Identifier,
    /// The challenge's token (RFC 8555 §8).
    pub(crate) token: &'a str,
    /// As computed from the token and the account key (RFC 8555 §8.1).
    pub(crate) key_authorization: &'a str,
    /// The account's URL, for the methods that name the account.
    pub(crate) account_url: Option<&'a str>,
    /// The issuer domain names of the CA, in lower case, for dns-persist-01.
    pub(crate) issuers: &'a [String],
    /// For records that say how long they count.
    pub(crate) now: Timestamp,
}

/// The validator cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("TLS for validation cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Carries out attempts. Any number of them may run at the same time; they share nothing.
#[derive(Debug)]
pub(crate) struct Validator {
    dialer: Dialer,
    http01: Http01,
    tls_alpn01: TlsAlpn01,
    attempt_timeout: Duration,
}

impl Validator {
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        let servers =
            if options.resolvers.is_empty() { system_resolvers() } else { options.resolvers };
        let provider = tls::provider();
        Ok(Self {
            dialer: Dialer {
                resolver: Resolver {
                    servers,
                    query_timeout: options.timeouts.query,
                    require_dnssec: options.require_dnssec,
                    metrics: options.metrics,
                },
                denied: DeniedNetworks::new(options.denied_networks),
                localhost_is_this_machine: options.localhost_is_this_machine,
                connect_timeout: options.timeouts.connect,
            },
            http01: Http01 {
                http_port: options.http_port,
                https_port: options.https_port,
                tls: tls::unverified(&provider)?,
            },
            tls_alpn01: TlsAlpn01 { port: options.tls_alpn_port, tls: tls::acme_tls_1(&provider)? },
            attempt_timeout: options.timeouts.attempt,
        })
    }

    /// How long one attempt may take: [`Timeouts::attempt`].
    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// Whether a resolver answers; for `kipuka check`.
    ///
    /// # Errors
    /// What each resolver did instead.
    pub(crate) async fn check_resolvers(&self) -> Result<String, String> {
        let deadline = Instant::now() + self.attempt_timeout;
        // A name that cannot exist (RFC 6761 §6.4): NXDOMAIN is as good an answer as any.
        match self.dialer.resolver.addresses("kipuka-check.invalid", deadline).await {
            Err(error) if !error.is_answer() => Err(error.to_string()),
            _ => Ok("a resolver answers".to_owned()),
        }
    }

    /// Looks once whether the challenge is fulfilled. Ends within [`Timeouts::attempt`].
    pub(crate) async fn validate(&self, attempt: Attempt<'_>) -> Outcome {
        let deadline = Instant::now() + self.attempt_timeout;
        if !attempt.method.proves(attempt.identifier) {
            let (method, identifier) = (attempt.method.as_str(), attempt.identifier);
            let why = if identifier.as_device().is_some() {
                format!("a device ({identifier}) cannot be proved by {method}")
            } else if identifier.is_wildcard() {
                format!("a wildcard ({identifier}) can only be proved through DNS (dns-01)")
            } else {
                format!("an address ({identifier}) cannot be proved by {method}")
            };
            return Failure::refused(ProblemType::Unauthorized, why).into();
        }
        let resolver = &self.dialer.resolver;
        let proof = match attempt.method {
            ChallengeType::Http01 => self.http01.prove(&self.dialer, &attempt, deadline).await,
            ChallengeType::TlsAlpn01 => {
                self.tls_alpn01.prove(&self.dialer, &attempt, deadline).await
            }
            ChallengeType::Dns01 | ChallengeType::DnsAccount01 => {
                dns01::prove(resolver, &attempt, deadline).await
            }
            ChallengeType::DnsPersist01 => dns_persist01::prove(resolver, &attempt, deadline).await,
            ChallengeType::DeviceAttest01 => {
                let why = "a device's statement is not looked for in the network";
                Err(Failure::refused(ProblemType::BadAttestationStatement, why))
            }
        };
        proof.map_or_else(Outcome::from, Outcome::Proved)
    }

    /// Whether CAA records let a CA issue for a name. No answer is no permission. Ends within
    /// [`Timeouts::attempt`].
    pub(crate) async fn check_caa(&self, question: CaaQuestion<'_>) -> Outcome {
        let deadline = Instant::now() + self.attempt_timeout;
        let permission = caa::check(&self.dialer.resolver, &question, deadline).await;
        permission.map_or_else(Outcome::from, Outcome::Proved)
    }
}

/// resolv.conf(5): without a `nameserver` line, or without the file, the one on this machine.
fn system_resolvers() -> Vec<SocketAddr> {
    const DNS: u16 = 53;
    let listed: Vec<SocketAddr> = read_system_conf()
        .map(|(conf, _)| {
            conf.name_servers().iter().map(|server| SocketAddr::new(server.ip, DNS)).collect()
        })
        .unwrap_or_default();
    if listed.is_empty() {
        vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DNS)]
    } else {
        listed
    }
}
