//! Opening what the configuration names, each with words for the operator where that fails.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use crate::ca::{Authorities, Authority, Meta};
use crate::clock::Timestamp;
use crate::config::{Ca, CaKey, Config, Digest, Hsm, Validation};
use crate::signer::Signer;
use crate::signer::key_file::KeyFile;
use crate::signer::pkcs11::{OpenError, Pkcs11Signer, Token, TokenOptions};
use crate::store::{self, Store};
use crate::validation::{self, Validator};
use crate::x509::algorithm::{KeyType, SignatureAlgorithm};
use crate::x509::chain::Chain;
use crate::x509::profile::{ExtendedKeyUsage, Profile};

const DAY_S: i64 = 24 * 3600;

/// What keeps kipuka from starting, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}")]
    Failed(String),
    /// To try again before somebody has corrected the PIN brings the token nearer to locking itself.
    #[error("{0}")]
    PinRefused(String),
}

impl StartError {
    pub(super) fn new(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// Opens the database and brings its schema up to date.
pub(crate) async fn open_store(config: &Config) -> Result<Store, StartError> {
    let failed = |error| StartError::new(format!("database {}", config.database.describe()), error);
    let store = Store::open(config.database.url.expose_secret(), config.database.max_connections)
        .await
        .map_err(failed)?;
    store.migrate().await.map_err(failed)?;
    Ok(store)
}

/// Opens the token of `[hsm]`.
pub(crate) async fn open_token(hsm: &Hsm) -> Result<Arc<Token>, StartError> {
    let options = TokenOptions {
        library: hsm.library.clone(),
        slot: hsm.slot,
        token_label: hsm.token_label.clone(),
        pin: hsm.pin.clone(),
        max_sessions: hsm.max_sessions,
        sign_deadline: hsm.sign_deadline,
    };
    blocking(move || Token::open(options)).await?.map_err(|error| match error {
        OpenError::PinRefused { .. } => StartError::PinRefused(format!("[hsm]: {error}")),
        _ => StartError::new("[hsm]", error),
    })
}

/// Whether any CA's key is in the token.
pub(crate) fn needs_token(config: &Config) -> bool {
    config.cas.iter().any(|ca| matches!(ca.key, CaKey::Hsm { .. }))
}

/// Whether two `[hsm]` sections lead to the same login, so that the open token serves both.
pub(super) fn same_token(old: &Hsm, new: &Hsm) -> bool {
    let pin = |hsm: &Hsm| hsm.pin.as_ref().map(|pin| pin.expose_secret().to_owned());
    let rest = |hsm: &Hsm| {
        (
            hsm.library.clone(),
            hsm.slot,
            hsm.token_label.clone(),
            hsm.max_sessions,
            hsm.sign_deadline,
        )
    };
    rest(old) == rest(new) && pin(old) == pin(new)
}

/// Opens one `[[ca]]`: reads its certificate, finds its key, and has them prove that they belong
/// together.
pub(crate) async fn open_authority(
    ca: &Ca,
    token: Option<&Arc<Token>>,
    now: Timestamp,
) -> Result<Authority, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::new(format!("CA {:?}", ca.id), error);
    let path = ca.cert.display();
    let text = tokio::fs::read_to_string(&ca.cert)
        .await
        .map_err(|error| failed(&format!("{path}: {error}")))?;
    let chain = Chain::from_pem(&text).map_err(|error| failed(&format!("{path}: {error}")))?;
    check_certificate(ca, &chain, now).map_err(|why| failed(&format!("{path}: {why}")))?;
    let expected = chain.issuer().public_key().clone();
    let algorithm = algorithm(ca.digest, expected.key_type());
    let signer: Arc<dyn Signer> = match (&ca.key, token) {
        (CaKey::Hsm { cka_id }, Some(token)) => {
            let (token, id) = (Arc::clone(token), cka_id.clone());
            let open = move || Pkcs11Signer::open(&token, &id, algorithm, &expected);
            Arc::new(blocking(open).await?.map_err(|error| failed(&error))?)
        }
        (CaKey::Hsm { .. }, None) => {
            return Err(failed(&"its key is in a token, and none is open"));
        }
        (CaKey::File(path), _) => Arc::new(
            KeyFile::open(path, algorithm, Some(&expected)).map_err(|error| failed(&error))?,
        ),
    };
    Ok(Authority {
        id: ca.id.clone(),
        name: ca.name.clone(),
        issuer_id: store::issuer_id(&chain.download_chain()),
        chain,
        signer,
        profile: Profile {
            extended_key_usage: ExtendedKeyUsage { server_auth: true, client_auth: ca.client_auth },
            ..Profile::tls_server(i64::from(ca.validity_days) * DAY_S)
        },
        meta: Meta {
            terms_of_service: ca.terms_of_service.clone(),
            website: ca.website.clone(),
            caa_identities: ca.caa_identities.clone(),
        },
    })
}

/// The certificate must be in force, and carry the key usages that the configuration demands.
fn check_certificate(ca: &Ca, chain: &Chain, now: Timestamp) -> Result<(), String> {
    let certificate = chain.issuer();
    if now.unix_s() > chain.not_after_s() {
        let end = Timestamp::from_unix_s(chain.not_after_s());
        return Err(format!("a certificate in it expired at {end}; renew the CA's certificate"));
    }
    if now.unix_s() < certificate.not_before_s() {
        let begin = Timestamp::from_unix_s(certificate.not_before_s());
        return Err(format!("it is not valid before {begin}; is this machine's clock right?"));
    }
    let carried = certificate.key_usage();
    let missing: Vec<_> = ca
        .key_usage
        .iter()
        .map(|usage| usage.name())
        .filter(|usage| carried.as_ref().is_some_and(|carried| !carried.contains(usage)))
        .collect();
    if !missing.is_empty() {
        return Err(format!(
            "the CA certificate lacks the key usage {}, which key_usage demands",
            missing.join(", ")
        ));
    }
    Ok(())
}

fn algorithm(digest: Option<Digest>, key_type: KeyType) -> Option<SignatureAlgorithm> {
    Some(match (digest?, key_type) {
        (Digest::Sha256, KeyType::Rsa(_)) => SignatureAlgorithm::RsaSha256,
        (Digest::Sha384, KeyType::Rsa(_)) => SignatureAlgorithm::RsaSha384,
        (Digest::Sha512, KeyType::Rsa(_)) => SignatureAlgorithm::RsaSha512,
        (Digest::Sha256, _) => SignatureAlgorithm::EcdsaSha256,
        (Digest::Sha384, _) => SignatureAlgorithm::EcdsaSha384,
        // No ECDSA with SHA-512 here: the signer refuses what does not fit, and says so.
        (Digest::Sha512, _) => SignatureAlgorithm::RsaSha512,
    })
}

pub(crate) fn open_validator(config: &Validation) -> Result<Validator, StartError> {
    Validator::new(validation::Options {
        resolvers: config.resolvers.clone(),
        http_port: config.http_port,
        https_port: config.https_port,
        tls_alpn_port: config.tls_alpn_port,
        denied_networks: config.denied_networks.clone(),
        localhost_is_this_machine: config.resolve_localhost,
        timeouts: validation::Timeouts { attempt: config.timeout, ..Default::default() },
    })
    .map_err(|error| StartError::new("[validation]", error))
}

/// Opens every `[[ca]]`, and has the store know their chains.
pub(super) async fn open_authorities(
    config: &Config,
    token: Option<&Arc<Token>>,
    store: &Store,
    now: Timestamp,
) -> Result<Authorities, StartError> {
    let mut authorities = Vec::with_capacity(config.cas.len());
    for ca in &config.cas {
        let authority = open_authority(ca, token, now).await?;
        store
            .keep_issuer(&authority.chain.download_chain())
            .await
            .map_err(|error| StartError::new("database", error))?;
        tracing::info!(
            ca.id = authority.id,
            ca.name = authority.name,
            key = authority.signer.describe(),
            "CA opened"
        );
        authorities.push(Arc::new(authority));
    }
    Ok(Authorities::new(authorities))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StartError::new("start", error))
}
