//! TLS for the server itself: one certificate, exchanged while connections go on.

use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use openssl::pkey::PKey;
use openssl::x509::X509;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Timestamp;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
/// How often the files are looked at.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Why a certificate and key cannot serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: cannot be read: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error(
        "others can read or change the key {0} (mode {mode:04o}): run `chmod 0400 {0}`",
        .path.display()
    )]
    Shared { path: PathBuf, mode: u32 },
    #[error("the server's certificate holds no PEM certificate")]
    NoCertificate,
    #[error("the server's certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the server's key is no PEM private key without a passphrase: {0}")]
    Key(String),
    #[error("the server's certificate and key do not belong together")]
    Mismatch,
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The place of the certificate that new connections see.
#[derive(Debug)]
pub(crate) struct CertificateSlot(ArcSwap<Served>);

#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
    /// In lower case.
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
}

impl CertificateSlot {
    /// A slot with this chain (the server's certificate first) and key.
    pub(crate) fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(read(chain_pem, key_pem)?))))
    }

    /// Exchanges the certificate; where the new one is no good, the old one stays.
    pub(crate) fn set(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        self.0.store(Arc::new(read(chain_pem, key_pem)?));
        Ok(())
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.load().key.cert.clone()
    }

    /// Whether a host, as a URL writes it, is this server: the certificate names it, or it is this machine,
    /// or `local`, the address that was connected to.
    pub(crate) fn is_host(&self, host: &str, local: Option<IpAddr>) -> bool {
        let served = self.0.load();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback()
                || local == Some(address)
                || served.ip_addresses.contains(&address);
        }
        let host = host.to_ascii_lowercase();
        let is = |name: &String| match (name.strip_prefix("*."), host.split_once('.')) {
            (Some(parent), Some((_, above))) => above == parent,
            _ => *name == host,
        };
        host == "localhost" || served.dns_names.iter().any(is)
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        self.0.load().not_after
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

/// What a listener needs to speak TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(slot: Arc<CertificateSlot>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls_openssl::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(slot);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Served, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let Some(first) = chain.first() else { return Err(TlsError::NoCertificate) };
    let certificate =
        X509::from_der(first).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let key = PKey::private_key_from_pem_callback(key_pem, |_| Ok(0))
        .map_err(|error| TlsError::Key(error.to_string()))?;
    let matches = certificate.public_key().is_ok_and(|public_key| public_key.public_eq(&key));
    if !matches {
        return Err(TlsError::Mismatch);
    }
    let key_der =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(error.to_string()))?;
    let key = rustls_openssl::default_provider().key_provider.load_private_key(key_der)?;
    let not_after = openssl::asn1::Asn1Time::from_unix(0)
        .and_then(|epoch| epoch.diff(certificate.not_after()))
        .map(|span| i64::from(span.days) * 86_400 + i64::from(span.secs))
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let names = certificate.subject_alt_names();
    let names = || names.iter().flatten();
    let ip_address = |octets: &[u8]| match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    };
    Ok(Served {
        dns_names: names().filter_map(|name| Some(name.dnsname()?.to_ascii_lowercase())).collect(),
        ip_addresses: names().filter_map(|name| ip_address(name.ipaddress()?)).collect(),
        key: Arc::new(CertifiedKey::new(chain, key)),
        not_after: Timestamp::from_unix_s(not_after),
    })
}

/// A certificate and its key on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What tells that a file was written: its time, its length, and which file it is.
type Stamp = (Option<SystemTime>, u64, u64);

impl Files {
    /// Reads both into a slot.
    pub(crate) fn load(&self) -> Result<Arc<CertificateSlot>, TlsError> {
        CertificateSlot::new(&read_file(&self.certificate)?, &read_key_file(&self.key)?)
    }

    /// Reads both into a slot that serves already; where they are no good, the old ones stay.
    pub(crate) fn reload(&self, slot: &CertificateSlot) -> Result<(), TlsError> {
        slot.set(&read_file(&self.certificate)?, &read_key_file(&self.key)?)
    }

    /// Reloads whenever one of the files was written, until `stop` turns true. A pair that does not
    /// (yet) fit together is looked at again the next time.
    pub(crate) async fn watch(
        self,
        slot: Arc<CertificateSlot>,
        interval: Duration,
        mut stop: watch::Receiver<bool>,
    ) {
        // None: what was written between the start and now is not missed.
        let mut seen = None;
        let mut complained = None;
        while timeout(interval, stop.wait_for(|stop| *stop)).await.is_err() {
            // Before the files are read: what is written meanwhile is read the next time.
            let now = Some(self.stamps());
            if now == seen {
                continue;
            }
            let before = slot.chain();
            match self.reload(&slot) {
                Ok(()) => {
                    seen = now;
                    complained = None;
                    if slot.chain() != before {
                        tracing::info!(not_after = %slot.not_after(), "TLS certificate reloaded");
                    }
                }
                Err(error) => {
                    let complaint = Some(error.to_string());
                    if complaint != complained {
                        tracing::warn!(%error, "TLS certificate not reloaded; the old one stays");
                        complained = complaint;
                    }
                }
            }
        }
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        use std::os::unix::fs::MetadataExt as _;
        [&self.certificate, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok(), metadata.len(), metadata.ino()))
        })
    }
}

/// Group members may read it, as Debian's `ssl-cert` does; `config` says so too.
fn read_key_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let unreadable = |error| TlsError::Read { path: path.to_owned(), error };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    // Of the open file, so that it is the one that is read.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o006 != 0 {
        return Err(TlsError::Shared { path: path.to_owned(), mode });
    }
    let mut pem = Vec::new();
    file.read_to_end(&mut pem).map_err(unreadable)?;
    Ok(pem)
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;

    fn pair(days: u32) -> (Vec<u8>, Vec<u8>) {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(days).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        (builder.build().to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap())
    }

    #[test]
    fn a_pair_that_does_not_belong_together_leaves_the_old_one_in_place() {
        let (certificate, key) = pair(1);
        let (other, other_key) = pair(9);
        let slot = CertificateSlot::new(&certificate, &key).unwrap();
        let before = slot.not_after();
        assert!(matches!(slot.set(&other, &key), Err(TlsError::Mismatch)));
        assert!(matches!(slot.set(b"", &key), Err(TlsError::NoCertificate)));
        assert!(matches!(slot.set(&certificate, b"nonsense"), Err(TlsError::Key(_))));
        assert_eq!(slot.not_after(), before);
        slot.set(&other, &other_key).unwrap();
        assert!(slot.not_after() > before);
    }

    const INTERVAL: Duration = Duration::from_millis(5);

    struct Case {
        files: Files,
        _folder: tempfile::TempDir,
    }

    impl Case {
        fn new(pair: (Vec<u8>, Vec<u8>)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let case = Self {
                files: Files {
                    certificate: folder.path().join("server.pem"),
                    key: folder.path().join("server-key.pem"),
                },
                _folder: folder,
            };
            case.write(pair);
            case
        }

        fn write(&self, (certificate, key): (Vec<u8>, Vec<u8>)) {
            fs::write(&self.files.certificate, certificate).unwrap();
            fs::write(&self.files.key, key).unwrap();
            self.set_mode(0o600);
        }

        fn set_mode(&self, mode: u32) {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&self.files.key, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    async fn changes(slot: &CertificateSlot, from: Timestamp) {
        for _ in 0..2000 {
            if slot.not_after() != from {
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
        panic!("the certificate was not exchanged");
    }

    #[tokio::test]
    async fn files_that_were_written_are_reloaded_and_broken_ones_are_not() {
        let case = Case::new(pair(1));
        let slot = case.files.load().unwrap();
        let first = slot.not_after();
        let (stop, stopped) = watch::channel(false);
        let watch = case.files.clone().watch(Arc::clone(&slot), INTERVAL, stopped);
        let watcher = tokio::spawn(watch);
        fs::write(&case.files.key, b"half-written").unwrap();
        tokio::time::sleep(INTERVAL * 10).await;
        assert_eq!(slot.not_after(), first);
        let (certificate, _) = pair(5);
        fs::write(&case.files.certificate, certificate).unwrap();
        tokio::time::sleep(INTERVAL * 10).await;
        assert_eq!(slot.not_after(), first);
        case.write(pair(9));
        changes(&slot, first).await;
        assert!(slot.not_after() > first);
        stop.send(true).unwrap();
        watcher.await.unwrap();
    }

    #[tokio::test]
    async fn files_that_were_written_before_the_first_look_are_reloaded() {
        let case = Case::new(pair(1));
        let slot = case.files.load().unwrap();
        let first = slot.not_after();
        case.write(pair(9));
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(case.files.clone().watch(Arc::clone(&slot), INTERVAL, stopped));
        changes(&slot, first).await;
    }

    #[tokio::test]
    async fn the_watch_ends_where_nobody_is_left_to_stop_it() {
        let case = Case::new(pair(1));
        let slot = case.files.load().unwrap();
        let (stop, stopped) = watch::channel(false);
        drop(stop);
        let watch = case.files.clone().watch(slot, INTERVAL, stopped);
        timeout(Duration::from_secs(5), watch).await.unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
        let case = Case::new(pair(1));
        let slot = case.files.load().unwrap();
        case.set_mode(0o644);
        let said = case.files.load().unwrap_err().to_string();
        let chmod = format!("chmod 0400 {}", case.files.key.display());
        assert!(said.contains("mode 0644") && said.contains(&chmod), "{said}");
        assert!(matches!(case.files.reload(&slot), Err(TlsError::Shared { .. })));
        case.set_mode(0o602);
        assert!(case.files.load().is_err());
        for mode in [0o400, 0o640] {
            case.set_mode(mode);
            assert!(case.files.load().is_ok(), "{mode:o}");
        }
    }
}
