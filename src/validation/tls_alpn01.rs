//! The TLS-ALPN challenge (RFC 8737), of addresses, too (RFC 8738 §6).

use std::net::IpAddr;
use std::sync::Arc;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use data_encoding::HEXLOWER;
use der::Decode;
use openssl::sha::sha256;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;
use x509_cert::Certificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Attempt;
use super::dial::Dialer;
use super::outcome::{Evidence, Failure, excerpt};
use crate::acme::identifier::Identifier;
use crate::acme::problem::ProblemType;

/// RFC 8737 §6.2
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// `id-pe-acmeIdentifier` (RFC 8737 §6.1)
const ACME_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");

#[derive(Debug)]
pub(super) struct TlsAlpn01 {
    pub(super) port: u16,
    pub(super) tls: Arc<ClientConfig>,
}

impl TlsAlpn01 {
    pub(super) async fn prove(
        &self,
        dialer: &Dialer,
        attempt: &Attempt<'_>,
        deadline: Instant,
    ) -> Result<Evidence, Failure> {
        let identifier = attempt.identifier;
        let (host, server_name) = match identifier.as_ip() {
            None => (Host::Domain(identifier.base()), identifier.base().to_owned()),
            Some(IpAddr::V4(address)) => (Host::Ipv4(address), reverse_name(address.into())),
            Some(IpAddr::V6(address)) => (Host::Ipv6(address), reverse_name(address.into())),
        };
        let asked = format!("TLS with {server_name}, acme-tls/1");
        let (stream, peer) = dialer
            .connect(&host, self.port, deadline)
            .await
            .map_err(|error| Failure::from(error).during(&asked))?;
        let asked = format!("{asked}, at {peer}");
        let certificate = self
            .shown(server_name, stream, deadline)
            .await
            .map_err(|error| error.during(&asked))?;
        let digest = sha256(attempt.key_authorization.as_bytes());
        match check(&certificate, identifier, &digest) {
            Ok(()) => Ok(Evidence {
                text: format!(
                    "{asked}: a certificate for {identifier} alone with the acmeIdentifier {}",
                    hex(&digest)
                ),
            }),
            Err(why) => Err(Failure::refused(ProblemType::IncorrectResponse, why).during(&asked)),
        }
    }

    /// The first certificate of a finished handshake. Nothing is sent over the connection, which
    /// ends here (RFC 8737 §3).
    async fn shown(
        &self,
        name: String,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<CertificateDer<'static>, Failure> {
        let server_name = ServerName::try_from(name)
            .map_err(|error| Failure::refused(ProblemType::Tls, error.to_string()))?;
        let stream = handshake(&self.tls, server_name, stream, deadline).await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(PROTOCOL) {
            return Err(Failure::refused(
                ProblemType::Tls,
                "the server does not take up acme-tls/1; no ACME responder answers here",
            ));
        }
        session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.clone().into_owned())
            .ok_or_else(|| Failure::refused(ProblemType::Tls, "the server shows no certificate"))
    }
}

/// A TLS handshake that tells a wrong answer from none.
pub(super) async fn handshake(
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
    deadline: Instant,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    match timeout_at(deadline, TlsConnector::from(config.clone()).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let spoke_wrongly = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            let detail = format!("the TLS handshake failed: {error}");
            Err(if spoke_wrongly {
                Failure::refused(ProblemType::Tls, detail)
            } else {
                Failure::unreachable(ProblemType::Tls, detail)
            })
        }
        Err(_) => Err(Failure::unreachable(
            ProblemType::Tls,
            "the TLS handshake did not end in the time allowed",
        )),
    }
}

/// What the server is called when an address is to be proved (RFC 8738 §6; RFC 1035 §3.5, RFC 3596 §2.5),
/// since a server name is never an address.
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles =
                address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

/// The certificate is what RFC 8737 §3 says: one dNSName, which is the name, or one iPAddress, which is
/// the address (RFC 8738 §6), and a critical acmeIdentifier that is `digest`. Otherwise, what is wrong
/// with it.
fn check(der: &[u8], identifier: &Identifier, digest: &[u8; 32]) -> Result<(), String> {
    let certificate = Certificate::from_der(der)
        .map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let extensions = certificate.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);

    let san = only(extensions, ID_CE_SUBJECT_ALT_NAME, "subjectAltName")?;
    let names = SubjectAltName::from_der(san.extn_value.as_bytes())
        .map_err(|error| format!("the certificate's subjectAltName cannot be read: {error}"))?;
    let wanted = match identifier.as_ip() {
        None => format!("the dNSName {:?}", identifier.base()),
        Some(address) => format!("the iPAddress {address}"),
    };
    match (&names.0[..], identifier.as_ip()) {
        ([GeneralName::DnsName(found)], None)
            if found.as_str().eq_ignore_ascii_case(identifier.base()) => {}
        ([GeneralName::IpAddress(found)], Some(IpAddr::V4(address)))
            if found.as_bytes() == address.octets() => {}
        ([GeneralName::IpAddress(found)], Some(IpAddr::V6(address)))
            if found.as_bytes() == address.octets() => {}
        ([GeneralName::DnsName(found)], _) => {
            let found = excerpt(found.as_bytes());
            return Err(format!("the certificate is for {found}, not for {wanted}"));
        }
        ([GeneralName::IpAddress(found)], _) => {
            let found = hex(found.as_bytes().get(..16).unwrap_or(found.as_bytes()));
            return Err(format!("the certificate is for the address {found}, not for {wanted}"));
        }
        (names, _) => {
            return Err(format!(
                "the certificate's subjectAltName has {} entries where {wanted} must stand alone",
                names.len()
            ));
        }
    }

    let proof = only(extensions, ACME_IDENTIFIER, "acmeIdentifier")?;
    if !proof.critical {
        return Err("the certificate's acmeIdentifier extension is not critical".to_owned());
    }
    // Authorization ::= OCTET STRING (SIZE (32))
    let expected = [&[0x04, 32][..], digest].concat();
    if proof.extn_value.as_bytes() != expected {
        return Err(format!(
            "the certificate's acmeIdentifier is {}, but {} is expected",
            hex(proof.extn_value.as_bytes().get(..64).unwrap_or(proof.extn_value.as_bytes())),
            hex(&expected)
        ));
    }
    Ok(())
}

/// The extension that must be there exactly once (RFC 5280 §4.2).
fn only<'a>(
    extensions: &'a [Extension],
    id: ObjectIdentifier,
    name: &str,
) -> Result<&'a Extension, String> {
    let mut found = extensions.iter().filter(|extension| extension.extn_id == id);
    match (found.next(), found.next()) {
        (Some(extension), None) => Ok(extension),
        (None, _) => Err(format!("the certificate has no {name} extension")),
        (Some(_), Some(_)) => Err(format!("the certificate has more than one {name} extension")),
    }
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Reads a certificate that a stranger showed.
#[cfg(fuzzing)]
pub(crate) fn fuzz(certificate: &[u8]) {
    for (kind, value) in [("dns", "a.test"), ("ip", "192.0.2.1"), ("ip", "2001:db8::1")] {
        let identifier = Identifier::parse(kind, value).expect("it is one");
        let _ = check(certificate, &identifier, &[7; 32]);
    }
}
