//! `[server]`: where kipuka listens, and what it calls itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::Needs;
use super::files::Shared;
use super::mistake::At;
use super::reader::{Section, shortened};

pub(super) const KEYS: &[&str] = &[
    "listen",
    "tls_cert",
    "tls_key",
    "external_url",
    "http_listen",
    "http_url",
    "admin_listen",
    "linger_s",
    "drain_s",
    "hold_s",
];

const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 8443));
const ADDRESS: &str = "write an address and a port: \"0.0.0.0:8443\", \"[::]:8443\"";

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// ACME over HTTPS.
    pub(crate) listen: SocketAddr,
    /// `None`: kipuka issues and renews its own certificate from the first CA.
    pub(crate) tls: Option<TlsFiles>,
    /// The base of every URL handed out, without a slash at its end; `None`: the request's `Host`.
    pub(crate) external_url: Option<String>,
    /// Plain HTTP for CRLs and CA certificates; `None`: off.
    pub(crate) http_listen: Option<SocketAddr>,
    /// The base of the URLs in certificates, where clients find the CRL and the CA's certificate by
    /// plain HTTP; no slash at its end. `None`: certificates name no such place.
    pub(crate) http_url: Option<String>,
    /// Health and metrics; `None`: off.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// How long clients are served as ever after a stop was asked for, while `/readyz` says 503.
    pub(crate) linger: Duration,
    /// How long requests under way may take to end at a shutdown.
    pub(crate) drain: Duration,
    /// How long an answer waits for a result that is due, so that clients poll less.
    pub(crate) hold: Duration,
}

/// The server's own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// PEM: the certificate, then those above it.
    pub(crate) cert: PathBuf,
    /// PEM; others cannot read it, its group may.
    pub(crate) key: PathBuf,
}

pub(super) fn read(section: &Section<'_>) -> Server {
    let listen = section.parsed::<SocketAddr>("listen", ADDRESS);
    let http_listen = section.parsed::<SocketAddr>("http_listen", ADDRESS);
    let admin_listen = section.parsed::<SocketAddr>("admin_listen", ADDRESS);
    let external_url = external_url(section);
    let server = Server {
        listen: listen.as_ref().map_or(DEFAULT_LISTEN, |at| at.value),
        tls: tls(section),
        http_url: http_url(section, external_url.as_deref(), http_listen.as_ref()),
        external_url,
        http_listen: http_listen.as_ref().map(|at| at.value),
        admin_listen: admin_listen.as_ref().map(|at| at.value),
        linger: Duration::from_secs(section.integer("linger_s", 0..=300).unwrap_or(0)),
        drain: Duration::from_secs(section.integer("drain_s", 0..=3600).unwrap_or(30)),
        hold: Duration::from_secs(section.integer("hold_s", 0..=30).unwrap_or(5)),
    };
    distinct(section, server.listen, &[http_listen, admin_listen]);
    server
}

fn tls(section: &Section<'_>) -> Option<TlsFiles> {
    let (cert, key) = (section.path("tls_cert"), section.path("tls_key"));
    for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        if section.has(one) && !section.has(other) {
            section.wrong(
                one,
                format!("is set without {other}"),
                format!("add {other}, or remove {one}: kipuka then issues its own certificate"),
            );
        }
    }
    if section.reader.needs == Needs::Serve {
        if let Some(cert) = &cert {
            section.reader.check_readable("TLS certificate", cert);
        }
        if let Some(key) = &key {
            section.reader.check_secret("TLS key", key, Shared::Group);
        }
    }
    Some(TlsFiles { cert: cert?.value, key: key?.value })
}

fn external_url(section: &Section<'_>) -> Option<String> {
    let example = "write https, a host and, if it is not 443, a port: \"https://ca.example:8443\"";
    base_url(section, "external_url", "https", "is not an https URL (RFC 8555 §6.1)", example)
}

/// What is configured, else the port of `http_listen` at the host of `external_url`.
fn http_url(
    section: &Section<'_>,
    external_url: Option<&str>,
    http_listen: Option<&At<SocketAddr>>,
) -> Option<String> {
    if section.has("http_url") {
        let example = "write http, a host and, if it is not 80, a port: \"http://ca.example:8080\"";
        // With https a client would have to check the certificate of the server that tells it how to
        // check certificates.
        let what = "is not an http URL, as those in certificates are (RFC 5280 §4.2.1.13, §8)";
        return base_url(section, "http_url", "http", what, example);
    }
    let port = http_listen?.value.port();
    let mut url = Url::parse(external_url?).ok()?;
    // 0 is a free one: nobody knows which.
    (port != 0).then_some(())?;
    url.set_scheme("http").ok()?;
    url.set_port(Some(port)).ok()?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn base_url(
    section: &Section<'_>,
    key: &str,
    scheme: &str,
    wrong_scheme: &str,
    example: &str,
) -> Option<String> {
    let At { value: url, .. } = section.parsed::<Url>(key, example)?;
    let what = if url.scheme() != scheme {
        wrong_scheme
    } else if url.host_str().is_none_or(str::is_empty) {
        "has no host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "has a user name"
    } else if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        "has a path or a query"
    } else {
        return Some(url.as_str().trim_end_matches('/').to_owned());
    };
    section.wrong(key, what, example);
    None
}

/// Remembers each address that an earlier one takes already; port 0 is a free one, always.
fn distinct(section: &Section<'_>, listen: SocketAddr, others: &[Option<At<SocketAddr>>]) {
    let mut taken = vec![listen];
    for other in others.iter().flatten() {
        if taken.iter().any(|address| collide(*address, other.value)) {
            let what =
                format!("another listener has {} already", shortened(&other.value.to_string()));
            section.reader.mistake(&other.place, what, "give each listener a port of its own");
        }
        taken.push(other.value);
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.is_ipv4() == b.is_ipv4() && (any(a.ip()) || any(b.ip())))
}
