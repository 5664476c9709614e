//! New key pairs on a token: made there, never to leave it, and only for signing.

use std::fmt;
use std::str::FromStr;

use cryptoki::mechanism::{Mechanism, MechanismInfo};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, SessionState};

use super::inventory::{KeyEntry, Listing, keys_in};
use super::key::{Curve, hex, parameter_set, public_halves};
use super::recovery::{Fault, Remedy};
use super::{OpenError, Token};
use crate::x509::algorithm::{ParameterSet, PublicKey};

/// The kinds of key that kipuka makes, under the names that `kipuka hsm keygen --type` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySpec {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    EcP256,
    EcP384,
    EcP521,
    Ed25519,
    MlDsa(ParameterSet),
}

impl KeySpec {
    pub(crate) const ALL: [Self; 10] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::Ed25519,
        Self::MlDsa(ParameterSet::MlDsa44),
        Self::MlDsa(ParameterSet::MlDsa65),
        Self::MlDsa(ParameterSet::MlDsa87),
    ];

    /// The mechanism that makes it, and its name.
    fn mechanism(self) -> (Mechanism<'static>, &'static str) {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                (Mechanism::RsaPkcsKeyPairGen, "CKM_RSA_PKCS_KEY_PAIR_GEN")
            }
            Self::EcP256 | Self::EcP384 | Self::EcP521 => {
                (Mechanism::EccKeyPairGen, "CKM_EC_KEY_PAIR_GEN")
            }
            Self::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, "CKM_EC_EDWARDS_KEY_PAIR_GEN"),
            Self::MlDsa(_) => (Mechanism::MlDsaKeyPairGen, "CKM_ML_DSA_KEY_PAIR_GEN"),
        }
    }

    /// Whether the key is of a size that the mechanism takes. Asked only to explain a failure:
    /// tokens count in bits, as they should, in bytes, or not at all.
    fn is_in_range(self, info: &MechanismInfo) -> bool {
        let bits = match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::EcP256 => 256,
            Self::EcP384 => 384,
            Self::EcP521 => 521,
            Self::Ed25519 | Self::MlDsa(_) => return true,
        };
        (info.min_key_size()..=info.max_key_size()).contains(&bits)
    }

    /// What tells the key from others that its mechanism makes, in each form that tokens want.
    fn attributes(self) -> Vec<Vec<Attribute>> {
        let rsa = |bits: u64| {
            vec![vec![
                Attribute::ModulusBits(bits.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]]
        };
        let ec =
            |curve: Curve| curve.params().into_iter().map(|form| vec![Attribute::EcParams(form)]);
        match self {
            Self::Rsa2048 => rsa(2048),
            Self::Rsa3072 => rsa(3072),
            Self::Rsa4096 => rsa(4096),
            Self::EcP256 => ec(Curve::P256).collect(),
            Self::EcP384 => ec(Curve::P384).collect(),
            Self::EcP521 => ec(Curve::P521).collect(),
            Self::Ed25519 => ec(Curve::Ed25519).collect(),
            Self::MlDsa(set) => vec![vec![Attribute::ParameterSet(parameter_set(set))]],
        }
    }

    /// What a key of this kind could do besides signing and verifying, denied: for the public half
    /// and for the private.
    fn denials(self) -> (Vec<Attribute>, Vec<Attribute>) {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => (
                vec![Attribute::Encrypt(false), Attribute::Wrap(false)],
                vec![Attribute::Decrypt(false), Attribute::Unwrap(false)],
            ),
            Self::EcP256 | Self::EcP384 | Self::EcP521 | Self::Ed25519 => {
                (Vec::new(), vec![Attribute::Derive(false)])
            }
            Self::MlDsa(_) => (Vec::new(), Vec::new()),
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::EcP521 => "ec-p521",
            Self::Ed25519 => "ed25519",
            Self::MlDsa(ParameterSet::MlDsa44) => "ml-dsa-44",
            Self::MlDsa(ParameterSet::MlDsa65) => "ml-dsa-65",
            Self::MlDsa(ParameterSet::MlDsa87) => "ml-dsa-87",
        })
    }
}

/// A key type that kipuka cannot make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key type: use one of {names}", names = KeySpec::ALL.map(|spec| spec.to_string()).join(", "))]
pub(crate) struct UnknownKeySpec(String);

impl FromStr for KeySpec {
    type Err = UnknownKeySpec;

    fn from_str(text: &str) -> Result<Self, UnknownKeySpec> {
        Self::ALL
            .into_iter()
            .find(|spec| spec.to_string() == text)
            .ok_or_else(|| UnknownKeySpec(text.to_owned()))
    }
}

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

/// Makes the pair in the first way that the token takes, and returns its private half.
fn make(
    session: &Session,
    spec: KeySpec,
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<ObjectHandle, Fault> {
    let (deny_public, deny_private) = spec.denials();
    // Some tokens make no RSA key that only signs; tpm2-pkcs11 says so by CKR_GENERAL_ERROR.
    let rounds = if deny_private.is_empty() { &[true][..] } else { &[true, false] };
    let mut first = None;
    for only_signs in rounds {
        for attributes in spec.attributes() {
            let mut public = [public, &attributes].concat();
            let mut private = private.to_vec();
            if *only_signs {
                public.extend_from_slice(&deny_public);
                private.extend_from_slice(&deny_private);
            }
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
