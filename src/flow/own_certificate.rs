//! kipuka's certificate for its own server, where none is configured.

use std::net::IpAddr;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

use super::{Context, Error};
use crate::ca::Authority;
use crate::ledger::{self, Actor, Entry, Kind};
use crate::store::OwnPlan;
use crate::x509::algorithm::PublicKey;

/// A certificate with its chain, and a key that lives in this process alone.
pub(crate) struct OwnCertificate {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: Vec<u8>,
}

/// Makes a key and has the CA sign its certificate; as with every other certificate, what is to be
/// signed is stored first.
pub(crate) async fn own_certificate(
    context: &Context,
    authority: &Authority,
    dns_names: &[String],
    ip_addresses: &[IpAddr],
) -> Result<OwnCertificate, Error> {
    let failed = |error: openssl::error::ErrorStack| Error::Failed(error.to_string());
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).map_err(failed)?;
    let key = EcKey::generate(&group).and_then(PKey::from_ec_key).map_err(failed)?;
    let public_key = PublicKey::from_spki(&key.public_key_to_der().map_err(failed)?)
        .map_err(|error| Error::Failed(error.to_string()))?;
    let now = context.clock.now();
    let prepared = authority
        .prepare_names(dns_names, ip_addresses, &public_key, now, context.entropy)
        .map_err(|error| Error::Failed(error.to_string()))?;
    let id = context.entropy.id()?;
    let tbs_sha256 = ledger::digest(prepared.tbs.der());
    let plan = OwnPlan {
        id: &id,
        ca: &authority.id,
        issuer_id: &authority.issuer_id,
        serial: &prepared.serial,
        tbs: prepared.tbs.der(),
        now,
    };
    let names = dns_names.iter().cloned().chain(ip_addresses.iter().map(IpAddr::to_string));
    let entry = |kind, at| {
        Entry::new(kind, Actor::Kipuka, prepared.serial.as_str(), at)
            .ca(&authority.id)
            .with("own", true)
            .with("identifiers", names.clone().collect::<Vec<_>>())
            .with("tbs_sha256", tbs_sha256.as_str())
    };
    context.store.plan_own_certificate(plan, &entry(Kind::CertificatePlanned, now)).await?;
    let certificate =
        authority.sign(prepared.tbs).await.map_err(|error| Error::Failed(error.to_string()))?;
    let now = context.clock.now();
    let entry = entry(Kind::CertificateIssued, now)
        .with("sha256", ledger::digest(&certificate))
        .with("signing_key", authority.signing_key());
    context.store.complete_own_certificate(&id, &certificate, now, &entry).await?;
    tracing::info!(ca.id = authority.id, serial = prepared.serial, "own certificate issued");
    Ok(OwnCertificate {
        chain_pem: authority.chain.to_pem(&certificate),
        key_pem: key.private_key_to_pem_pkcs8().map_err(failed)?,
    })
}
