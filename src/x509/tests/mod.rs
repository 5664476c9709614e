//! Certificates made here and judged by OpenSSL.

mod algorithms;
mod chain;
mod csr;
mod dates;
mod issuance;
mod lint;
mod name_constraints;
mod path;
mod request;
mod revocation_list;

use std::sync::Arc;

use der::Encode;
use der::asn1::BitString;
use ml_dsa::{Keypair, MlDsa44, MlDsa65, MlDsa87, MlDsaParams};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use spki::SubjectPublicKeyInfoOwned;

use super::algorithm::{
    Hash, KeyType, ParameterSet, PublicKey, SignatureAlgorithm, VerifiedSignature,
};
use super::ca_certificate::CaCertificate;
use super::chain::Chain;
use super::dates::RequestedDates;
use super::issuer::IssuerCertificate;
use super::lint::{LintedTbs, lint, lint_ca, lint_revocation_list};
use super::profile::{AuthorityInformation, Profile};
use super::revocation_list::RevocationList;
use super::serial::Serial;
use super::subject::Subject;
use super::tbs::Leaf;

/// In 2027. OpenSSL is told to judge as of then.
pub(super) const NOW_S: i64 = 1_800_000_000;
pub(super) const DAY_S: i64 = 86_400;

pub(super) struct Key {
    pub(super) secret: Secret,
    pub(super) public: PublicKey,
    /// How it signs, where not by its default.
    pub(super) asked: Option<SignatureAlgorithm>,
}

#[derive(Clone)]
pub(super) enum Secret {
    OpenSsl(PKey<Private>),
    MlDsa(Arc<Sign>),
}

pub(super) type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

impl Key {
    fn new(private: PKey<Private>) -> Self {
        let public = PublicKey::from_spki(&private.public_key_to_der().unwrap()).unwrap();
        Self { secret: Secret::OpenSsl(private), public, asked: None }
    }

    pub(super) fn rsa(bits: u32) -> Self {
        Self::new(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    pub(super) fn ec(curve: Nid) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        Self::new(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
    }

    pub(super) fn p256() -> Self {
        Self::ec(Nid::X9_62_PRIME256V1)
    }

    pub(super) fn ed25519() -> Self {
        Self::new(PKey::generate_ed25519().unwrap())
    }

    pub(super) fn ml_dsa(set: ParameterSet) -> Self {
        match set {
            ParameterSet::MlDsa44 => Self::new_ml_dsa::<MlDsa44>(set),
            ParameterSet::MlDsa65 => Self::new_ml_dsa::<MlDsa65>(set),
            ParameterSet::MlDsa87 => Self::new_ml_dsa::<MlDsa87>(set),
        }
    }

    fn new_ml_dsa<P: MlDsaParams + 'static>(set: ParameterSet) -> Self {
        // Any 32 random bytes are a seed (FIPS 204 §5.1), as they are an Ed25519 key.
        let seed = PKey::generate_ed25519().unwrap().raw_private_key().unwrap();
        let secret = ml_dsa::SigningKey::<P>::from_seed(&seed[..].try_into().unwrap());
        let spki = SubjectPublicKeyInfoOwned {
            algorithm: SignatureAlgorithm::MlDsa(set).identifier(),
            subject_public_key: BitString::from_bytes(&secret.verifying_key().encode()).unwrap(),
        };
        let public = PublicKey::from_spki(&spki.to_der().unwrap()).unwrap();
        let sign = move |message: &[u8]| ml_dsa::Signer::sign(&secret, message).encode().to_vec();
        Self { secret: Secret::MlDsa(Arc::new(sign)), public, asked: None }
    }

    /// The same key, signing so.
    pub(super) fn signing(&self, algorithm: SignatureAlgorithm) -> Self {
        let (secret, public) = (self.secret.clone(), self.public.clone());
        Self { secret, public, asked: Some(algorithm) }
    }

    pub(super) fn openssl(&self) -> &PKey<Private> {
        match &self.secret {
            Secret::OpenSsl(key) => key,
            Secret::MlDsa(_) => panic!("OpenSSL need not know ML-DSA"),
        }
    }

    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        self.asked.unwrap_or_else(|| SignatureAlgorithm::default_for(self.public.key_type()))
    }

    pub(super) fn sign(&self, digest: MessageDigest, message: &[u8]) -> Vec<u8> {
        Signer::new(digest, self.openssl()).unwrap().sign_oneshot_to_vec(message).unwrap()
    }

    pub(super) fn sign_pss(&self, digest: MessageDigest, salt: i32, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new(digest, self.openssl()).unwrap();
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).unwrap();
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    pub(super) fn sign_as(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Vec<u8> {
        use SignatureAlgorithm as A;
        match (algorithm, &self.secret) {
            (A::RsaPkcs1(hash) | A::Ecdsa(hash), _) => self.sign(hash.digest(), message),
            (A::RsaPss(hash), _) => self.sign_pss(hash.digest(), hash.length().into(), message),
            (A::Ed25519, _) => {
                let mut signer = Signer::new_without_digest(self.openssl()).unwrap();
                signer.sign_oneshot_to_vec(message).unwrap()
            }
            (A::MlDsa(_), Secret::MlDsa(sign)) => sign(message),
            (A::MlDsa(_), Secret::OpenSsl(_)) => panic!("no ML-DSA key"),
        }
    }

    pub(super) fn verified_as(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> VerifiedSignature {
        let signature = self.sign_as(algorithm, message);
        self.public.verified(algorithm, message.to_vec(), signature).unwrap()
    }

    /// Signs as a CA does.
    pub(super) fn certify(&self, tbs: LintedTbs) -> Vec<u8> {
        let signature = self.verified_as(tbs.algorithm(), tbs.der());
        tbs.assemble(&signature).unwrap()
    }
}

pub(super) fn serial(byte: u8) -> Serial {
    Serial::from_entropy([byte; 20])
}

pub(super) fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

/// A CA certificate over ten years, as `issuer` signs it; `None` signs itself.
pub(super) fn ca(subject: &str, key: &Key, path_len: Option<u8>, issuer: Option<&Ca>) -> Ca {
    let signer = issuer.map_or(key, |issuer| &issuer.key);
    let nowhere = AuthorityInformation::default();
    let request = CaCertificate {
        issuer: issuer.map(|issuer| issuer.chain.issuer()),
        algorithm: signer.algorithm(),
        subject: &self::subject(subject),
        path_len,
        serial: serial(9),
        public_key: &key.public,
        key_identifier: None,
        not_before_s: NOW_S - DAY_S,
        validity_s: 3650 * DAY_S,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    let tbs = request.tbs().unwrap();
    let der = signer.certify(lint_ca(tbs.der, &request).unwrap());
    let mut certificates = vec![IssuerCertificate::from_der(&der).unwrap()];
    certificates.extend(issuer.into_iter().flat_map(|ca| ca.chain.certificates().cloned()));
    let key = Key { secret: key.secret.clone(), public: key.public.clone(), asked: key.asked };
    Ca { key, chain: Chain::new(certificates).unwrap() }
}

pub(super) struct Ca {
    pub(super) key: Key,
    pub(super) chain: Chain,
}

impl Ca {
    pub(super) fn root(key: &Key) -> Self {
        ca("CN=Test Root,O=kipuka", key, Some(1), None)
    }

    /// An issuing CA below a root of the same key type.
    pub(super) fn below_root(root: &Key, key: &Key) -> Self {
        ca("CN=Test Issuing CA,O=kipuka", key, Some(0), Some(&Self::root(root)))
    }

    pub(super) fn leaf<'a>(
        &'a self,
        profile: &'a Profile,
        public_key: &'a PublicKey,
        dns_names: &'a [String],
    ) -> Leaf<'a> {
        Leaf {
            issuer: self.chain.issuer(),
            algorithm: self.key.algorithm(),
            profile,
            serial: serial(1),
            dates: RequestedDates::default(),
            public_key,
            dns_names,
            ip_addresses: &[],
            devices: &[],
        }
    }

    /// A CRL as the CA signs it.
    pub(super) fn sign_list(&self, list: &RevocationList<'_>) -> Vec<u8> {
        let linted = lint_revocation_list(list.tbs().unwrap(), list).unwrap();
        let signature = self.key.verified_as(linted.algorithm(), linted.der());
        linted.assemble(&signature).unwrap()
    }

    pub(super) fn issue(&self, leaf: &Leaf<'_>) -> Vec<u8> {
        self.key.certify(lint(leaf.tbs(NOW_S).unwrap().der, leaf).unwrap())
    }
}

pub(super) fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}
