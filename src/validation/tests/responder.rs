//! TLS servers on the loopback, and the certificates they show.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Builder, X509Extension};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::super::tls::provider;

/// A challenge certificate (RFC 8737 §3), which a test may spoil.
pub(super) struct Responder {
    /// DNS names, and addresses as such.
    pub(super) names: Vec<&'static str>,
    /// The only server name that it answers to.
    pub(super) only_for: Option<&'static str>,
    /// Values of acmeIdentifier extensions.
    pub(super) proofs: Vec<Vec<u8>>,
    pub(super) critical: bool,
    pub(super) protocols: Vec<&'static str>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) key: PKey<Private>,
    /// Sign the handshake with another key than the certificate's.
    pub(super) stolen: bool,
}

impl Responder {
    pub(super) fn right(name: &'static str, digest: [u8; 32]) -> Self {
        Self {
            names: vec![name],
            only_for: None,
            proofs: vec![[&[4, 32][..], &digest].concat()],
            critical: true,
            protocols: vec!["acme-tls/1"],
            versions: rustls::ALL_VERSIONS.to_vec(),
            key: ec(Nid::X9_62_PRIME256V1),
            stolen: false,
        }
    }

    pub(super) async fn serve(self) -> SocketAddr {
        self.serve_at("127.0.0.1:0").await
    }

    pub(super) async fn serve_at(self, address: &str) -> SocketAddr {
        let certificate = self.certificate();
        let key = if self.stolen { ec(Nid::X9_62_PRIME256V1) } else { self.key };
        let acceptor = acceptor(&certificate, &key, &self.protocols, &self.versions, self.only_for);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // what becomes of the handshake is for the client to say
                let _ = acceptor.accept(stream).await;
            }
        });
        address
    }

    /// For one handshake; then comes what was sent behind it, once the client has ended the connection.
    pub(super) async fn serve_and_listen(self) -> (SocketAddr, JoinHandle<Vec<u8>>) {
        let certificate = self.certificate();
        let acceptor = acceptor(&certificate, &self.key, &self.protocols, &self.versions, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut heard = Vec::new();
            // That the client says no goodbye (close_notify) is an error, and no matter.
            let _ = stream.read_to_end(&mut heard).await;
            heard
        });
        (address, heard)
    }

    fn certificate(&self) -> X509 {
        let mut builder = builder(&self.key);
        if !self.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in &self.names {
                match name.parse::<IpAddr>() {
                    Ok(_) => names.ip(name),
                    Err(_) => names.dns(name),
                };
            }
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        let id = Asn1Object::from_str("1.3.6.1.5.5.7.1.31").unwrap();
        for proof in &self.proofs {
            let value = Asn1OctetString::new_from_bytes(proof).unwrap();
            let proof = X509Extension::new_from_der(&id, self.critical, &value).unwrap();
            builder.append_extension(proof).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build()
    }
}

/// A web server's TLS: self-signed, for no name at all.
pub(super) fn web_server() -> TlsAcceptor {
    let key = ec(Nid::X9_62_PRIME256V1);
    let mut builder = builder(&key);
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    acceptor(&builder.build(), &key, &[], rustls::ALL_VERSIONS, None)
}

pub(super) fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub(super) fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn builder(key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

/// rustls's own way in refuses a key that is not the certificate's.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>, Option<&'static str>);

impl ResolvesServerCert for Always {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let right = self.1.is_none() || hello.server_name() == self.1;
        right.then(|| self.0.clone())
    }
}

fn acceptor(
    certificate: &X509,
    key: &PKey<Private>,
    protocols: &[&str],
    versions: &[&'static SupportedProtocolVersion],
    only_for: Option<&'static str>,
) -> TlsAcceptor {
    let provider = provider();
    let der = PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8().unwrap());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::from(der)).unwrap();
    let chain = vec![CertificateDer::from(certificate.to_der().unwrap())];
    let shown = Always(Arc::new(CertifiedKey::new(chain, key)), only_for);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
