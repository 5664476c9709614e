//! What a client sets up to prove control: a web server for http-01, a TLS server for tls-alpn-01.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Extension};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::csr;

type Tokens = Arc<Mutex<Shown>>;

#[derive(Default)]
struct Shown {
    tokens: HashMap<String, String>,
    /// Where other programs leave key authorizations.
    folder: Option<PathBuf>,
}

/// Answers for every name on this machine.
#[derive(Clone)]
pub struct Responder {
    pub http_port: u16,
    pub tls_port: u16,
    tokens: Tokens,
    certificates: Arc<Certificates>,
}

impl Responder {
    pub async fn start() -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let responder = Self {
            http_port: http.local_addr().unwrap().port(),
            tls_port: tls.local_addr().unwrap().port(),
            tokens: Tokens::default(),
            certificates: Arc::default(),
        };
        tokio::spawn(serve_http(http, Arc::clone(&responder.tokens)));
        tokio::spawn(serve_tls(tls, Arc::clone(&responder.certificates)));
        responder
    }

    /// Shows a key authorization for http-01 (RFC 8555 §8.3).
    pub fn show_http01(&self, token: &str, key_authorization: &str) {
        let mut shown = self.tokens.lock().unwrap();
        shown.tokens.insert(token.to_owned(), key_authorization.to_owned());
    }

    /// Takes it away again.
    pub fn hide_http01(&self, token: &str) {
        self.tokens.lock().unwrap().tokens.remove(token);
    }

    /// Also shows for http-01 what other programs, such as a client, leave in a folder: what others
    /// know as the folder `.well-known/acme-challenge` of a web server.
    pub fn read_http01_from(&self, folder: PathBuf) {
        self.tokens.lock().unwrap().folder = Some(folder);
    }

    /// Shows a key authorization for tls-alpn-01 (RFC 8737 §3).
    pub fn show_tls_alpn01(&self, name: &str, key_authorization: &str) {
        let key = csr::p256();
        let certificate = challenge_certificate(name, key_authorization, &key);
        let chain = vec![CertificateDer::from(certificate.to_der().unwrap())];
        let key = PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap();
        let key = rustls_openssl::default_provider().key_provider.load_private_key(key).unwrap();
        let key = Arc::new(CertifiedKey::new(chain, key));
        self.certificates.0.lock().unwrap().insert(server_name(name), key);
    }

    /// Takes it away again.
    pub fn hide_tls_alpn01(&self, name: &str) {
        self.certificates.0.lock().unwrap().remove(&server_name(name));
    }
}

/// What a client of ACME is called in the handshake: a name by itself, an address by its reverse name
/// (RFC 8738 §6).
fn server_name(name: &str) -> String {
    match name.parse() {
        Err(_) => name.to_owned(),
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let digits: String =
                address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
            let labels: String = digits.chars().rev().map(|digit| format!("{digit}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

fn challenge_certificate(name: &str, key_authorization: &str, key: &PKey<Private>) -> X509 {
    let digest = hash(MessageDigest::sha256(), key_authorization.as_bytes()).unwrap();
    let mut value = vec![0x04, 0x20];
    value.extend(&*digest);
    let oid = Asn1Object::from_str("1.3.6.1.5.5.7.1.31").unwrap();
    let value = Asn1OctetString::new_from_bytes(&value).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut names = SubjectAlternativeName::new();
    match name.parse::<IpAddr>() {
        Ok(_) => names.ip(name),
        Err(_) => names.dns(name),
    };
    let names = names.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.append_extension(X509Extension::new_from_der(&oid, true, &value).unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build()
}

async fn serve_http(listener: TcpListener, tokens: Tokens) {
    while let Ok((stream, _)) = listener.accept().await {
        let tokens = Arc::clone(&tokens);
        tokio::spawn(async move { answer_http(stream, &tokens).await });
    }
}

async fn answer_http(mut stream: TcpStream, tokens: &Tokens) {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => head.extend(&buffer[..length]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let token = head
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix("/.well-known/acme-challenge/"))
        .unwrap_or_default();
    let body = tokens.lock().unwrap().get(token);
    let (status, body) = match body {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).await;
}

impl Shown {
    fn get(&self, token: &str) -> Option<String> {
        let left = || fs::read_to_string(self.folder.as_ref()?.join(token)).ok();
        self.tokens.get(token).cloned().or_else(left)
    }
}

#[derive(Debug, Default)]
struct Certificates(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().get(hello.server_name()?).cloned()
    }
}

/// The provider of everything that the harness does over TLS.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls_openssl::default_provider())
}

async fn serve_tls(listener: TcpListener, certificates: Arc<Certificates>) {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.shutdown().await;
            }
        });
    }
}
