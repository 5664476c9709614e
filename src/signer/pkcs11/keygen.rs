//! New key pairs on a token: made there, never to leave it, and only for signing.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::MechanismInfo;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, SessionState};

use super::inventory::{KeyEntry, Listing, keys_in};
use super::key::{hex, public_halves};
pub(crate) use super::key_spec::KeySpec;
use super::recovery::{Fault, Remedy};
use super::{OpenError, Token};
use crate::x509::algorithm::PublicKey;

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeygenError {
    #[error("a key needs an id of at least one byte")]
    EmptyId,
    #[error("the id {id} is taken; the token has: {present}")]
    IdInUse { id: String, present: String },
    #[error(
        "the token {token:?} makes no {spec} keys: it has no {mechanism}; `pkcs11-tool \
         --list-mechanisms` shows what it has"
    )]
    NoMechanism { token: String, spec: KeySpec, mechanism: &'static str },
    #[error(
        "the token {token:?} makes no {spec} keys: with {mechanism} it makes keys of {} to {} bits \
         ({detail})",
        .bits.0, .bits.1
    )]
    Size {
        token: String,
        spec: KeySpec,
        mechanism: &'static str,
        bits: (usize, usize),
        detail: String,
    },
    #[error(transparent)]
    Token(#[from] OpenError),
}

impl From<Fault> for KeygenError {
    fn from(fault: Fault) -> Self {
        Self::Token(fault.into())
    }
}

/// Whether the token can make such a key under this `CKA_ID`, as far as can be told without making
/// it; with what it says of the mechanism. Blocking.
pub(crate) fn check(
    token: &Token,
    spec: KeySpec,
    cka_id: &[u8],
) -> Result<Option<MechanismInfo>, KeygenError> {
    if cka_id.is_empty() {
        return Err(KeygenError::EmptyId);
    }
    token.access.with_management(|lent| {
        let present: Vec<KeyEntry> = keys_in(lent)?;
        if present.iter().any(|key| key.id == cka_id) {
            let present = Listing(&present).to_string();
            return Err(KeygenError::IdInUse { id: hex(cka_id), present });
        }
        let (mechanism, name) = spec.mechanism();
        let (context, slot) = (lent.context, lent.place.slot);
        let offered = context.get_mechanism_list(slot).map_err(Fault::from)?;
        if !offered.contains(&mechanism.mechanism_type()) {
            let token = lent.place.entry.label.clone();
            return Err(KeygenError::NoMechanism { token, spec, mechanism: name });
        }
        Ok(context.get_mechanism_info(slot, mechanism.mechanism_type()).ok())
    })
}

/// Makes a key pair on `token` under a `CKA_ID` that no key has yet, and returns its public half.
/// Blocking: RSA 4096 can take minutes on a small token.
pub(crate) fn generate(
    token: &Token,
    spec: KeySpec,
    cka_id: &[u8],
    label: &str,
) -> Result<PublicKey, KeygenError> {
    let info = check(token, spec, cka_id)?;
    let (mechanism, name) = spec.mechanism();
    let session = token.access.open_read_write()?;
    // Without a login there are no private objects (PKCS#11 v3.1 §5.7.1): a token that needs none
    // guards its keys by other means.
    let state = session.get_session_info().map_err(Fault::from)?.session_state();
    let (public, private) = templates(cka_id, label, state == SessionState::RwUser);
    let private = make(&session, spec, &mechanism, &public, &private).map_err(|fault| {
        let range = info.filter(|info| !spec.is_in_range(info));
        match range {
            Some(info) => KeygenError::Size {
                token: token.label().to_owned(),
                spec,
                mechanism: name,
                bits: (info.min_key_size(), info.max_key_size()),
                detail: fault.detail,
            },
            None => fault.into(),
        }
    })?;
    let halves = public_halves(&session, cka_id, private)?;
    halves.into_iter().next().ok_or_else(|| OpenError::NoPublicKey { id: hex(cka_id) }.into())
}

/// Uses that no key for signing has, whatever its kind. Some tokens allow them unless told otherwise,
/// even to keys that could not be used so.
const NO_OTHER_USE: (&[Attribute], &[Attribute]) = (
    &[Attribute::Encrypt(false), Attribute::Wrap(false), Attribute::VerifyRecover(false)],
    &[
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::SignRecover(false),
        Attribute::Derive(false),
    ],
);

/// Makes the pair in the first way that the token takes, and returns its private half.
fn make(
    session: &Session,
    spec: KeySpec,
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<ObjectHandle, Fault> {
    let (deny_public, deny_private) = spec.denials();
    // Some tokens know not all of these attributes for all keys, and some make no RSA key that only
    // signs; tpm2-pkcs11 says so by CKR_GENERAL_ERROR.
    let rounds = [
        (NO_OTHER_USE.0, NO_OTHER_USE.1, true),
        (&deny_public[..], &deny_private[..], true),
        (&[], &[], deny_private.is_empty()),
    ];
    let mut first = None;
    for (deny_public, deny_private, only_signs) in rounds {
        for attributes in spec.attributes() {
            let mut public = [public, &attributes].concat();
            let mut private = private.to_vec();
            public.extend_from_slice(deny_public);
            private.extend_from_slice(deny_private);
            match session.generate_key_pair(mechanism, &public, &private) {
                Ok((_, made)) => {
                    if !only_signs {
                        tracing::warn!(
                            "the token makes no such key that only signs: this one may do more"
                        );
                    }
                    return Ok(made);
                }
                Err(refused) => first = first.or(Some(refused)),
            }
        }
    }
    // What was wanted was asked for first, and the refusal of that is what matters.
    Err(first.map_or_else(|| Fault::new(Remedy::Fail, "nothing was asked for"), Fault::from))
}

fn templates(cka_id: &[u8], label: &str, logged_in: bool) -> (Vec<Attribute>, Vec<Attribute>) {
    let named = [
        Attribute::Token(true),
        Attribute::Id(cka_id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    // CKA_PRIVATE false: a public key can be read without a login.
    let mut public = named.to_vec();
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    let mut private = named.to_vec();
    private.extend([
        Attribute::Private(logged_in),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    (public, private)
}
