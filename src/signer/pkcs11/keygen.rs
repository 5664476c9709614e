//! New key pairs on a token: made there, never to leave it, and only for signing.

use std::fmt;
use std::str::FromStr;

use const_oid::db::rfc5912::{SECP_256_R_1, SECP_384_R_1};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::SessionState;

use super::inventory::{KeyEntry, Listing, keys_in};
use super::key::{curve_params, hex, public_halves};
use super::recovery::Fault;
use super::{OpenError, Token};
use crate::x509::algorithm::PublicKey;

/// The kinds of key that kipuka makes, under the names that `kipuka hsm keygen --type` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySpec {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    EcP256,
    EcP384,
}

impl KeySpec {
    pub(crate) const ALL: [Self; 5] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcP256, Self::EcP384];
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
        })
    }
}

/// A key type that kipuka cannot make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key type: use rsa-2048, rsa-3072, rsa-4096, ec-p256 or ec-p384")]
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
    #[error("the token makes no {spec} keys: it would need {needed}")]
    NoMechanism { spec: KeySpec, needed: String },
    #[error(transparent)]
    Token(#[from] OpenError),
}

impl From<Fault> for KeygenError {
    fn from(fault: Fault) -> Self {
        Self::Token(fault.into())
    }
}

/// Whether the token can make such a key under this `CKA_ID`, as far as can be told without making
/// it. Blocking.
pub(crate) fn check(token: &Token, spec: KeySpec, cka_id: &[u8]) -> Result<(), KeygenError> {
    if cka_id.is_empty() {
        return Err(KeygenError::EmptyId);
    }
    token.access.with_management(|session| {
        let present: Vec<KeyEntry> = keys_in(session)?;
        if present.iter().any(|key| key.id == cka_id) {
            let present = Listing(&present).to_string();
            return Err(KeygenError::IdInUse { id: hex(cka_id), present });
        }
        let (mechanism, ..) = templates(spec, cka_id, "", false);
        let offered =
            session.context.get_mechanism_list(session.place.slot).map_err(Fault::from)?;
        if !offered.contains(&mechanism.mechanism_type()) {
            let needed = mechanism.mechanism_type().to_string();
            return Err(KeygenError::NoMechanism { spec, needed });
        }
        Ok(())
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
    check(token, spec, cka_id)?;
    let session = token.access.open_read_write()?;
    // Without a login there are no private objects (PKCS#11 v3.1 §5.7.1): a token that needs none
    // guards its keys by other means.
    let state = session.get_session_info().map_err(Fault::from)?.session_state();
    let logged_in = state == SessionState::RwUser;
    let (mechanism, public, private) = templates(spec, cka_id, label, logged_in);
    let (_, private) = match session.generate_key_pair(&mechanism, &public, &private) {
        Ok(made) => made,
        // Some tokens make no RSA key that only signs; tpm2-pkcs11 says so by CKR_GENERAL_ERROR.
        Err(refused) => {
            let (public, private) = (without_denials(&public), without_denials(&private));
            let made = session
                .generate_key_pair(&mechanism, &public, &private)
                .map_err(|_| Fault::from(refused))?;
            tracing::warn!("the token makes no such key that only signs: this one may do more");
            made
        }
    };
    let halves = public_halves(&session, cka_id, private)?;
    halves.into_iter().next().ok_or_else(|| OpenError::NoPublicKey { id: hex(cka_id) }.into())
}

/// A template without the uses that it denies: the token decides.
fn without_denials(template: &[Attribute]) -> Vec<Attribute> {
    use Attribute as A;
    let denial = |attribute: &&Attribute| {
        matches!(
            attribute,
            A::Encrypt(false)
                | A::Wrap(false)
                | A::Decrypt(false)
                | A::Unwrap(false)
                | A::Derive(false)
        )
    };
    template.iter().filter(|attribute| !denial(attribute)).cloned().collect()
}

fn templates(
    spec: KeySpec,
    cka_id: &[u8],
    label: &str,
    logged_in: bool,
) -> (Mechanism<'static>, Vec<Attribute>, Vec<Attribute>) {
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
    let rsa_bits: u64 = match spec {
        KeySpec::Rsa2048 => 2048,
        KeySpec::Rsa3072 => 3072,
        KeySpec::Rsa4096 => 4096,
        KeySpec::EcP256 | KeySpec::EcP384 => {
            let curve = if spec == KeySpec::EcP256 { SECP_256_R_1 } else { SECP_384_R_1 };
            public.push(Attribute::EcParams(curve_params(curve)));
            private.push(Attribute::Derive(false));
            return (Mechanism::EccKeyPairGen, public, private);
        }
    };
    public.extend([
        Attribute::ModulusBits(rsa_bits.into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ]);
    private.extend([Attribute::Decrypt(false), Attribute::Unwrap(false)]);
    (Mechanism::RsaPkcsKeyPairGen, public, private)
}
