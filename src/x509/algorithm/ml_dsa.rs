//! ML-DSA (FIPS 204) without OpenSSL, which knows it only from 3.5 on. Nothing is signed here: the
//! keys are in tokens.

use std::sync::Arc;

use ::ml_dsa::{
    EncodedVerifyingKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, Verifier, VerifyingKey,
};

use super::ParameterSet;

/// A public key, expanded once for all its uses: tens of kilobytes.
#[derive(Clone)]
pub(super) enum MlDsaKey {
    MlDsa44(Arc<VerifyingKey<MlDsa44>>),
    MlDsa65(Arc<VerifyingKey<MlDsa65>>),
    MlDsa87(Arc<VerifyingKey<MlDsa87>>),
}

impl MlDsaKey {
    /// `None` where the length is wrong; any bytes of the right length are a key (FIPS 204 §7.2).
    pub(super) fn new(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        Some(match set {
            ParameterSet::MlDsa44 => Self::MlDsa44(expanded(bytes)?),
            ParameterSet::MlDsa65 => Self::MlDsa65(expanded(bytes)?),
            ParameterSet::MlDsa87 => Self::MlDsa87(expanded(bytes)?),
        })
    }

    /// Pure mode with an empty context (RFC 9881 §3).
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::MlDsa44(key) => verify(key, message, signature),
            Self::MlDsa65(key) => verify(key, message, signature),
            Self::MlDsa87(key) => verify(key, message, signature),
        }
    }
}

fn expanded<P: MlDsaParams>(bytes: &[u8]) -> Option<Arc<VerifyingKey<P>>> {
    let encoded = EncodedVerifyingKey::<P>::try_from(bytes).ok()?;
    Some(Arc::new(VerifyingKey::decode(&encoded)))
}

fn verify<P: MlDsaParams>(key: &VerifyingKey<P>, message: &[u8], signature: &[u8]) -> bool {
    Signature::<P>::try_from(signature)
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}
