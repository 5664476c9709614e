//! The certificate of kipuka's own server: from files, or issued by the first CA and renewed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::StartError;
use crate::clock::Timestamp;
use crate::config::{Config, TlsFiles};
use crate::flow::{self, Context, SharedContext};
use crate::http::tls::{CertificateSlot, Files};

/// How often kipuka looks whether its own server certificate is due for renewal.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after a failed renewal the next is tried.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

pub(super) async fn server_certificate(
    config: &Config,
    context: &Context,
) -> Result<Arc<CertificateSlot>, StartError> {
    if let Some(files) = &config.server.tls {
        return open_certificate(files);
    }
    let failed = |error: &dyn std::fmt::Display| StartError::new("[server] TLS", error);
    let own = issue_own(context, &own_names(config)).await.map_err(|error| failed(&error))?;
    CertificateSlot::new(own.chain_pem.as_bytes(), &own.key_pem).map_err(|error| failed(&error))
}

/// Reads the server's certificate and key.
pub(crate) fn open_certificate(files: &TlsFiles) -> Result<Arc<CertificateSlot>, StartError> {
    tls_files(files).load().map_err(|error| StartError::new("[server] TLS", error))
}

pub(super) fn tls_files(files: &TlsFiles) -> Files {
    Files { certificate: files.cert.clone(), key: files.key.clone() }
}

/// The names under which clients reach this server.
pub(super) struct OwnNames {
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
}

pub(super) fn own_names(config: &Config) -> OwnNames {
    let mut dns_names = BTreeSet::from(["localhost".to_owned()]);
    let mut ip_addresses = BTreeSet::from([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    let listen = config.server.listen.ip();
    if !listen.is_unspecified() {
        ip_addresses.insert(listen);
    }
    let url = config.server.external_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => drop(dns_names.insert(name.to_owned())),
        Some(url::Host::Ipv4(ip)) => drop(ip_addresses.insert(ip.into())),
        Some(url::Host::Ipv6(ip)) => drop(ip_addresses.insert(ip.into())),
        None => {}
    }
    OwnNames {
        dns_names: dns_names.into_iter().collect(),
        ip_addresses: ip_addresses.into_iter().collect(),
    }
}

async fn issue_own(
    context: &Context,
    names: &OwnNames,
) -> Result<flow::OwnCertificate, flow::Error> {
    let authorities = context.authorities.load_full();
    let first = authorities.first();
    let first = first.ok_or_else(|| flow::Error::Failed("no [[ca]] is configured".to_owned()))?;
    flow::own_certificate(context, first, &names.dns_names, &names.ip_addresses).await
}

/// Renews kipuka's own certificate when a third of its life is left.
pub(super) async fn renew_own(
    context: SharedContext,
    slot: Arc<CertificateSlot>,
    names: OwnNames,
    mut stop: watch::Receiver<bool>,
) {
    let mut renew_at = two_thirds(context.clock.now(), slot.not_after());
    while !*stop.borrow() {
        let mut pause = RENEWAL_INTERVAL;
        let now = context.clock.now();
        if now >= renew_at {
            let renewed = issue_own(&context, &names).await.map_err(|error| error.to_string());
            let renewed = renewed.and_then(|own| {
                slot.set(own.chain_pem.as_bytes(), &own.key_pem).map_err(|error| error.to_string())
            });
            match renewed {
                Ok(()) => renew_at = two_thirds(now, slot.not_after()),
                Err(error) => {
                    tracing::error!(error, "kipuka's own certificate could not be renewed");
                    pause = RENEWAL_RETRY;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

fn two_thirds(now: Timestamp, end: Timestamp) -> Timestamp {
    now.plus(end.since(now) / 3 * 2)
}
