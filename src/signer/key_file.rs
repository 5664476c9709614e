//! A private key in a PEM file: development, tests, and the server's own TLS key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Padding;
use openssl::sign::RsaPssSaltlen;
use secrecy::{ExposeSecret, SecretSlice};

use super::{BoxFuture, Health, SignError, Signer, UnfitKey, algorithm_for, verified};
use crate::x509::algorithm::{KeyError, KeyType, PublicKey, SignatureAlgorithm, VerifiedSignature};

/// A signer whose key is in this process's memory.
pub(crate) struct KeyFile {
    path: PathBuf,
    key: Arc<PKey<Private>>,
    public_key: Arc<PublicKey>,
    algorithm: SignatureAlgorithm,
}

/// Why a key file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot read the key file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the key file {0} can be read or written by others (mode {mode:04o}): run `chmod 0400 {0}`",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "{} holds no RSA, EC or Ed25519 private key in PEM that is not encrypted (PKCS#8, SEC1 or \
         PKCS#1)",
        path.display()
    )]
    NoKey { path: PathBuf },
    #[error("the key in {}: {reason}", path.display())]
    UnreadableKey { path: PathBuf, reason: KeyError },
    #[error("the key in {}: {reason}", path.display())]
    Unfit { path: PathBuf, reason: UnfitKey },
    #[error(
        "the key in {} has key id {found}, the certificate's key has {expected}: they do not belong \
         together",
        path.display()
    )]
    KeyMismatch { path: PathBuf, found: String, expected: String },
    #[error("cannot write the key file {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("OpenSSL failed: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl KeyFile {
    /// Reads the key at `path`, which only its owner may read. With `expected` it must be that
    /// key; `algorithm` defaults to the key type's own. Blocking, but only for the file system.
    ///
    /// # Errors
    /// Every [`KeyFileError`] is for the operator; it names the file and never its contents.
    pub(crate) fn open(
        path: &Path,
        algorithm: Option<SignatureAlgorithm>,
        expected: Option<&PublicKey>,
    ) -> Result<Self, KeyFileError> {
        let key = read_private_key(path)?;
        let public_key = PublicKey::from_spki(&key.public_key_to_der()?)
            .map_err(|reason| KeyFileError::UnreadableKey { path: path.to_owned(), reason })?;
        let algorithm = algorithm_for(&public_key, algorithm)
            .map_err(|reason| KeyFileError::Unfit { path: path.to_owned(), reason })?;
        match expected {
            Some(expected) if *expected != public_key => {
                return Err(KeyFileError::KeyMismatch {
                    path: path.to_owned(),
                    found: public_key.key_identifier_hex(),
                    expected: expected.key_identifier_hex(),
                });
            }
            _ => {}
        }
        Ok(Self {
            path: path.to_owned(),
            key: Arc::new(key),
            public_key: Arc::new(public_key),
            algorithm,
        })
    }
}

impl Signer for KeyFile {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<VerifiedSignature, SignError>> {
        let key = Arc::clone(&self.key);
        let public_key = Arc::clone(&self.public_key);
        let algorithm = self.algorithm;
        let sign = move || {
            let signature = signer(&key, algorithm)
                .and_then(|mut signer| signer.sign_oneshot_to_vec(&message))
                .map_err(|error| SignError::Unavailable { detail: error.to_string() })?;
            verified(&public_key, algorithm, message, signature)
        };
        // A tenth of a millisecond is less than the way to another thread and back may take.
        if matches!(self.public_key.key_type(), KeyType::EcP256 | KeyType::Ed25519) {
            return Box::pin(async move { sign() });
        }
        Box::pin(async move {
            // RSA 4096 takes milliseconds: too long for a thread that answers requests.
            tokio::task::spawn_blocking(sign)
                .await
                .unwrap_or_else(|gone| Err(SignError::Unavailable { detail: gone.to_string() }))
        })
    }

    /// Always up: the key is in memory.
    fn health(&self) -> Health {
        Health::Up
    }

    fn describe(&self) -> String {
        format!("{} key in the file {}", self.public_key.key_type(), self.path.display())
    }
}

fn signer(
    key: &PKey<Private>,
    algorithm: SignatureAlgorithm,
) -> Result<openssl::sign::Signer<'_>, ErrorStack> {
    use SignatureAlgorithm as A;
    match algorithm {
        A::RsaPkcs1(hash) | A::Ecdsa(hash) => openssl::sign::Signer::new(hash.digest(), key),
        A::RsaPss(hash) => {
            let mut signer = openssl::sign::Signer::new(hash.digest(), key)?;
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_mgf1_md(hash.digest())?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            Ok(signer)
        }
        A::Ed25519 | A::MlDsa(_) => openssl::sign::Signer::new_without_digest(key),
    }
}

/// Makes a new P-256 key and writes it to `path` as PKCS#8 with mode 0600.
///
/// # Errors
/// [`KeyFileError::Unwritable`] also where something is already there: a key is never overwritten.
pub(crate) fn generate(path: &Path) -> Result<PublicKey, KeyFileError> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let public_key = PublicKey::from_spki(&key.public_key_to_der()?)
        .map_err(|reason| KeyFileError::UnreadableKey { path: path.to_owned(), reason })?;
    let pem = SecretSlice::from(key.private_key_to_pem_pkcs8()?);
    write_new(path, pem.expose_secret())
        .map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })?;
    Ok(public_key)
}

fn read_private_key(path: &Path) -> Result<PKey<Private>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that what is checked is what is read.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut pem = Vec::new();
    let read = file.read_to_end(&mut pem);
    let pem = SecretSlice::from(pem);
    read.map_err(unreadable)?;
    // The callback refuses: without it OpenSSL would ask for a passphrase on the terminal.
    PKey::private_key_from_pem_callback(pem.expose_secret(), |_| Err(ErrorStack::get()))
        .map_err(|_| KeyFileError::NoKey { path: path.to_owned() })
}

/// Killed here, `path` is either absent or whole: the link appears after the bytes are on disk.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written
}
