//! Keys on PKCS#11 tokens (OASIS PKCS#11 v3.1; everything used here is in v2.40 too).
//!
//! A [`Token`] is opened once per token and holds its login and its sessions; each CA whose key is
//! on it has a [`Pkcs11Signer`] over the same `Arc`. What a token can do is read from its mechanism
//! list and `CK_TOKEN_INFO`; nothing here knows a vendor.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::{BoxFuture, Health, SignError, Signer, UnfitKey, algorithm_for};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm, VerifiedSignature};
use access::Lent;
use circuit::Circuit;
use inventory::{Listing, keys_in};
use key::{hex, private_keys, public_halves, shown_by, wants_login_per_signature};
use mechanism::Recipe;
use module::lock;
use recovery::{Fault, Remedy};
use survey::Objects;

mod access;
pub(crate) mod attributes;
mod circuit;
pub(crate) mod init;
pub(crate) mod inventory;
mod keeper;
mod key;
mod key_spec;
pub(crate) mod keygen;
mod ladder;
pub(super) mod mechanism;
pub(super) mod module;
pub(super) mod recovery;
mod session;
pub(super) mod session_pool;
mod signing_thread;
mod survey;
mod token;
pub(super) mod traffic;

pub(crate) use module::LibraryError;
pub(crate) use session_pool::{DEFAULT_SIGN_DEADLINE, shut_down};
pub(crate) use survey::Surveyed;
pub(crate) use token::{Token, TokenOptions};

/// A signer whose key never leaves its token.
pub(crate) struct Pkcs11Signer {
    token: Arc<Token>,
    key: Arc<SigningKey>,
}

/// Why a token or a key on it cannot be used. Each message is for the operator: what is wrong, what
/// there is instead, what to do. None contains a PIN.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("neither slot nor token_label says which token to use; the library has: {present}")]
    WhichToken { present: String },
    #[error(
        "there is no initialised token in slot {slot:#x} ({slot}); the library has: {present}. \
         `slot` is the slot ID, which pkcs11-tool --list-slots shows in parentheses"
    )]
    NoSuchSlot { slot: u64, present: String },
    #[error("no token has the label {label:?}; the library has: {present}")]
    NoSuchToken { label: String, present: String },
    #[error(
        "several tokens have the label {label:?}: set slot to choose one; the library has: {present}"
    )]
    AmbiguousLabel { label: String, present: String },
    #[error(
        "slot {slot:#x} ({slot}) holds the token {found:?}, not {label:?}: remove slot or \
         token_label, or make them agree; the library has: {present}"
    )]
    SlotAndLabelDisagree { slot: u64, label: String, found: String, present: String },
    #[error("the token {token:?} asks for a PIN: set pin_env or pin_file in [hsm]")]
    PinMissing { token: String },
    #[error(
        "the token refused the PIN ({detail}). Try it with `pkcs11-tool --login`, check that the \
         token is not locked after failed attempts, and that kipuka's user can read the PIN file \
         or variable; kipuka does not try a refused PIN twice"
    )]
    PinRefused { detail: String },
    #[error(
        "the token {token:?} has no private key with CKA_ID {id}; it has: {present}. Compare with \
         `pkcs11-tool --login --list-objects`, and check that hsm_slot is the key's ID and that \
         token_label or slot is the right one"
    )]
    KeyNotFound { id: String, token: String, present: String },
    #[error("the token {token:?} has several keys with CKA_ID {id}; it has: {present}")]
    SeveralKeys { id: String, token: String, present: String },
    #[error(
        "the key with CKA_ID {id} wants a login before each signature (CKA_ALWAYS_AUTHENTICATE), \
         which kipuka does not do: make the key without it"
    )]
    LoginPerSignature { id: String },
    #[error(
        "the token does not show the public half of the key with CKA_ID {id}: import the public \
         key with the same ID"
    )]
    NoPublicKey { id: String },
    #[error(
        "the key with CKA_ID {id} has {found}, the certificate's key has key id {expected}: they \
         do not belong together"
    )]
    KeyMismatch { id: String, found: String, expected: String },
    #[error("the key with CKA_ID {id}: {reason}")]
    Unfit { id: String, reason: UnfitKey },
    #[error("the token {token:?} cannot sign {algorithm}: it would need {needed}")]
    NoMechanism { token: String, algorithm: SignatureAlgorithm, needed: &'static str },
    #[error("the token failed: {}", .0.detail)]
    Call(Fault),
    #[error("the token did not answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("cannot start the threads that sign: {0}")]
    Threads(io::Error),
}

impl OpenError {
    /// Whether it may be well again without anyone changing the configuration.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Call(_)
                | Self::NoAnswer(_)
                | Self::Library(_)
                | Self::NoSuchSlot { .. }
                | Self::NoSuchToken { .. }
        )
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault.remedy {
            Remedy::Stop => Self::PinRefused { detail: fault.detail },
            _ => Self::Call(fault),
        }
    }
}

impl Pkcs11Signer {
    /// A signer for the private key with this `CKA_ID`, which belongs to `expected`, the
    /// certificate's key. Whether it is there shows when it signs: see [`Self::prove`].
    ///
    /// # Errors
    /// [`OpenError::Unfit`].
    pub(crate) fn new(
        token: &Arc<Token>,
        cka_id: &[u8],
        algorithm: Option<SignatureAlgorithm>,
        expected: &PublicKey,
    ) -> Result<Self, OpenError> {
        let algorithm = algorithm_for(expected, algorithm)
            .map_err(|reason| OpenError::Unfit { id: hex(cka_id), reason })?;
        let key = SigningKey::new(cka_id.to_vec(), expected.clone(), algorithm);
        Ok(Self { token: Arc::clone(token), key: Arc::new(key) })
    }

    /// As [`Self::new`], and proves the key. Blocking.
    pub(crate) fn open(
        token: &Arc<Token>,
        cka_id: &[u8],
        algorithm: Option<SignatureAlgorithm>,
        expected: &PublicKey,
    ) -> Result<Self, OpenError> {
        let signer = Self::new(token, cka_id, algorithm, expected)?;
        signer.prove()?;
        Ok(signer)
    }

    /// Finds the key, checks that it belongs to the certificate, and has it sign something.
    /// Blocking, for as long as the library likes.
    ///
    /// # Errors
    /// Every [`OpenError`] is for the operator; [`OpenError::KeyMismatch`] names the key ids (RFC 5280
    /// §4.2.1.2) of both keys.
    pub(crate) fn prove(&self) -> Result<(), OpenError> {
        self.token.access.with_management(|lent| {
            let surveyed = lock(&self.token.survey).objects(lent, &self.key.id);
            if let Some(Objects { private, public }) = surveyed
                && let [handle] = private[..]
                && !wants_login_per_signature(lent, handle)
                && self.prove_by(lent, handle, &shown_by(lent, public, handle)).is_ok()
            {
                return Ok(());
            }
            let (handle, halves) = find(lent, &lent.place.entry.label, &self.key.id)?;
            self.prove_by(lent, handle, &halves)
        })
    }

    fn prove_by(
        &self,
        lent: &Lent<'_>,
        handle: ObjectHandle,
        halves: &[PublicKey],
    ) -> Result<(), OpenError> {
        let key = &self.key;
        let expected = &key.public_key;
        let mismatch = |found| OpenError::KeyMismatch {
            id: hex(&key.id),
            found,
            expected: expected.key_identifier_hex(),
        };
        if let Some(found) = halves.first()
            && !halves.contains(expected)
        {
            return Err(mismatch(format!("key id {}", found.key_identifier_hex())));
        }
        let recipe = access::choose_recipe(lent.context, lent.place, key.algorithm)?;
        let recipe = recipe.map_err(|needed| OpenError::NoMechanism {
            token: lent.place.entry.label.clone(),
            algorithm: key.algorithm,
            needed,
        })?;
        // The proof where the token shows no public half, and the test of the mechanism.
        let signature = access::sign(lent, handle, recipe, expected, PROBE)?;
        if !expected.verify(key.algorithm, PROBE, &signature) {
            return Err(mismatch("another key id (its signature does not verify)".to_owned()));
        }
        key.set_recipe(lent.place.generation, recipe);
        self.token.heed(&lent.place.entry);
        self.token.pool.watch(&self.key);
        Ok(())
    }

    /// Why it would be of no use to ask for a proof now, if it would.
    pub(crate) fn known_to_be_down(&self) -> Option<OpenError> {
        let why = self.token.pool.open_because()?;
        Some(OpenError::Call(Fault::new(Remedy::Reinitialize, why)))
    }

    /// Takes the token for down, for this reason, until a probe finds the key.
    pub(crate) fn take_for_down(&self, error: OpenError) {
        self.token.pool.failed(&self.key, &Fault::from(error));
    }
}

impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.key.public_key
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm
    }

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<VerifiedSignature, SignError>> {
        Box::pin(self.token.pool.sign(&self.key, message))
    }

    fn health(&self) -> Health {
        let why = self.token.pool.open_because().or_else(|| self.key.circuit.open_because());
        why.map_or(Health::Up, Health::Down)
    }

    fn load(&self) -> usize {
        self.token.pool.load()
    }

    fn describe(&self) -> String {
        let slot = self.token.slot().map_or_else(String::new, |slot| format!(" (slot {slot:#x})"));
        format!(
            "{} key with CKA_ID {} on the token {:?}{slot} of {}",
            self.key.public_key.key_type(),
            hex(&self.key.id),
            self.token.label(),
            self.token.access.options.library.display()
        )
    }
}

/// What a thread must know to sign with a key, and how the key is.
pub(super) struct SigningKey {
    pub(super) id: Vec<u8>,
    pub(super) public_key: PublicKey,
    pub(super) algorithm: SignatureAlgorithm,
    /// Open while this key fails though its token works.
    pub(super) circuit: Circuit,
    /// How the token signs with it, found out once in each initialisation of the library.
    recipe: Mutex<Option<(u64, Recipe)>>,
    probing: AtomicBool,
}

impl SigningKey {
    pub(super) fn new(id: Vec<u8>, public_key: PublicKey, algorithm: SignatureAlgorithm) -> Self {
        Self {
            id,
            public_key,
            algorithm,
            circuit: Circuit::default(),
            recipe: Mutex::default(),
            probing: AtomicBool::default(),
        }
    }

    fn recipe_in(&self, generation: u64) -> Option<Recipe> {
        let known = *lock(&self.recipe);
        known.and_then(|(of, recipe)| (of == generation).then_some(recipe))
    }

    fn set_recipe(&self, generation: u64, recipe: Recipe) {
        *lock(&self.recipe) = Some((generation, recipe));
    }

    /// What a caller is told while this key's circuit is open.
    pub(super) fn refusal(&self) -> Option<SignError> {
        self.circuit.open_because().map(|detail| SignError::Unavailable { detail })
    }

    /// Whether no other probe of this key is under way.
    fn start_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::SeqCst)
    }

    fn end_probe(&self) {
        self.probing.store(false, Ordering::SeqCst);
    }
}

/// The one private key with this `CKA_ID`, and the public halves that the token shows for it.
fn find(
    session: &Session,
    token: &str,
    cka_id: &[u8],
) -> Result<(ObjectHandle, Vec<PublicKey>), OpenError> {
    let (id, token) = (hex(cka_id), token.to_owned());
    let present = || Ok::<_, Fault>(Listing(&keys_in(session)?).to_string());
    match private_keys(session, cka_id)?[..] {
        [] => Err(OpenError::KeyNotFound { id, token, present: present()? }),
        [key] if wants_login_per_signature(session, key) => {
            Err(OpenError::LoginPerSignature { id })
        }
        [key] => Ok((key, public_halves(session, cka_id, key)?)),
        _ => Err(OpenError::SeveralKeys { id, token, present: present()? }),
    }
}

/// Signed to see whether a key works. It is no DER, so that it can be mistaken for nothing.
const PROBE: &[u8] = b"kipuka tests whether this key signs";
