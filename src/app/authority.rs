//! A `[[ca]]` becomes an authority: its certificate is read, its key found, and both prove that they belong together.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::open::{StartError, Tokens, ask};
use crate::acme::challenge::ChallengeType;
use crate::attestation::Roots;
use crate::ca::{Authorities, Authority, Meta, NamedProfile, Proof};
use crate::clock::Timestamp;
use crate::config::{self, Ca, CaKey, Config, Digest, RsaPadding, Sharing};
use crate::policy::Policy;
use crate::signer::failover::Failover;
use crate::signer::key_file::KeyFile;
use crate::signer::pkcs11::{OpenError, Pkcs11Signer, Surveyed, Token};
use crate::signer::{Health, Signer};
use crate::store::{self, Store};
use crate::x509::algorithm::{Hash, KeyType, PublicKey, SignatureAlgorithm};
use crate::x509::chain::Chain;
use crate::x509::profile::{AuthorityInformation, ExtendedKeyUsage, Profile};

const DAY_S: i64 = 24 * 3600;

/// Opens one `[[ca]]`: reads its certificate, finds its key, and has them prove that they belong
/// together. `http_url` is the base of the URLs in the certificates that it issues.
pub(crate) async fn open_authority(
    ca: &Ca,
    tokens: &Tokens,
    demand: Demand,
    http_url: Option<&str>,
    now: Timestamp,
) -> Result<Authority, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::new(format!("CA {:?}", ca.id), error);
    let path = ca.cert.display();
    let chain = read_chain(&ca.cert).await.map_err(|error| failed(&error))?;
    check_certificate(ca, &chain, now).map_err(|why| failed(&format!("{path}: {why}")))?;
    let alternates = alternates(ca, &chain, now).await.map_err(|why| failed(&why))?;
    let expected = chain.issuer().public_key().clone();
    let algorithm = algorithm(ca, expected.key_type()).map_err(|why| failed(&why))?;
    let signer: Arc<dyn Signer> = match &ca.key {
        CaKey::Hsm { cka_id, tokens: names, sharing } => {
            let mut places = Vec::new();
            for name in names {
                let token = tokens.get(name).ok_or_else(|| failed(&"its token is not open"))?;
                let signer = Pkcs11Signer::new(token, cka_id, algorithm, &expected);
                places.push((name.as_str(), Arc::new(signer.map_err(|error| failed(&error))?)));
            }
            prove(&ca.id, &places, demand).await?;
            let signers = places.into_iter().map(|(_, signer)| signer as Arc<dyn Signer>);
            Failover::over(signers.collect(), *sharing == Sharing::ByLoad)
                .ok_or_else(|| failed(&"it names no token"))?
        }
        CaKey::File(path) => Arc::new(
            KeyFile::open(path, algorithm, Some(&expected)).map_err(|error| failed(&error))?,
        ),
    };
    let crl_validity = chain.issuer().may_sign_crls().then_some(ca.crl_validity);
    let below = |path: String| http_url.map(|base| format!("{base}{path}"));
    let policy = Policy::new(&ca.policy, &ca.general_policy).within(chain.name_constraints());
    let profile = Profile {
        extended_key_usage: ExtendedKeyUsage { server_auth: true, client_auth: ca.client_auth },
        // None that could be asked for in vain.
        crl_distribution_point: crl_validity.and_then(|_| below(format!("/crl/{}.crl", ca.id))),
        authority_information: AuthorityInformation {
            ca_issuers: below(format!("/ca/{}.cer", ca.id)),
            ocsp: None,
        },
        underscores: policy.underscores(),
        ..Profile::tls_server(i64::from(ca.validity_days) * DAY_S)
    };
    Ok(Authority {
        id: ca.id.clone(),
        name: ca.name.clone(),
        issuer_id: store::issuer_id(&chain.download_chain()),
        chain,
        alternates,
        signer,
        crl_validity,
        profiles: ca.profiles.iter().map(|named| named_profile(named, &profile)).collect(),
        profile,
        subdomain_authorizations: ca.subdomain_authorizations,
        policy,
        meta: Meta {
            terms_of_service: ca.terms_of_service.clone(),
            website: ca.website.clone(),
            renewal_explanation: ca.renewal_explanation.clone(),
            caa_identities: ca.caa_identities.clone(),
            external_account_required: ca.external_account_required,
        },
        proof: proof(ca).await.map_err(|why| failed(&why))?,
    })
}

pub(crate) async fn read_chain(file: &Path) -> Result<Chain, String> {
    let path = file.display();
    let text = tokio::fs::read_to_string(file).await.map_err(|error| format!("{path}: {error}"))?;
    Chain::from_pem(&text).map_err(|error| format!("{path}: {error}"))
}

/// The other chains that a client may choose from (RFC 8555 §7.4.2): each begins with a certificate
/// for the same name and key, so that it fits what the CA issues.
async fn alternates(ca: &Ca, chain: &Chain, now: Timestamp) -> Result<Vec<Chain>, String> {
    let mut alternates = Vec::with_capacity(ca.alternate_chains.len());
    for file in &ca.alternate_chains {
        let path = file.display();
        let alternate = read_chain(file).await?;
        if !alternate.issuer().stands_for(chain.issuer()) {
            return Err(format!(
                "{path}: its first certificate ({}) is not one for the name and key of the CA's own \
                 ({}), so no certificate of this CA could be verified with it",
                alternate.issuer().subject(),
                chain.issuer().subject()
            ));
        }
        check_certificate(ca, &alternate, now).map_err(|why| format!("{path}: {why}"))?;
        alternates.push(alternate);
    }
    Ok(alternates)
}

/// What `[profile.NAME]` makes of the CA's own settings.
fn named_profile(named: &config::Profile, of_ca: &Profile) -> NamedProfile {
    let validity_s = named.validity.map(|validity| validity.as_secs());
    let profile = Profile {
        validity_s: validity_s.and_then(|s| i64::try_from(s).ok()).unwrap_or(of_ca.validity_s),
        extended_key_usage: named.ext_key_usage.map_or(of_ca.extended_key_usage, |usage| {
            ExtendedKeyUsage { server_auth: usage.server_auth, client_auth: usage.client_auth }
        }),
        common_name: named.common_name,
        basic_constraints: named.basic_constraints,
        ..of_ca.clone()
    };
    let hours = profile.validity_s / 3600;
    NamedProfile {
        name: named.name.clone(),
        description: named
            .description
            .clone()
            .unwrap_or_else(|| format!("certificates that are valid for {hours} hours")),
        key_types: named.key_types.clone().unwrap_or_default(),
        profile,
    }
}

/// What is asked of a CA's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// One must sign: somebody asks whether it does.
    OneSigns,
    /// A token that is away for now keeps neither kipuka nor a new configuration from serving.
    NoneIsWrong,
}

/// Has every place of a CA's key prove it. Those that do not are taken for down, and probed until they
/// are well, where the demand is met all the same.
async fn prove(
    ca: &str,
    places: &[(&str, Arc<Pkcs11Signer>)],
    demand: Demand,
) -> Result<(), StartError> {
    let mut failures = Vec::new();
    for (name, signer) in places {
        // Not asked while it is known to be down: each CA would wait for it anew.
        let proof = match signer.known_to_be_down() {
            Some(error) => Err(error),
            None => {
                let proving = Arc::clone(signer);
                ask(move || proving.prove()).await?
            }
        };
        if let Err(error) = proof {
            failures.push((*name, signer, error));
        }
    }
    let none = failures.len() == places.len();
    let away = failures.iter().all(|(_, _, error)| error.may_pass());
    let enough = !none || (demand == Demand::NoneIsWrong && away);
    let mut first = None;
    for (name, signer, error) in failures {
        let text = match name {
            "hsm" => format!("CA {ca:?}: {error}"),
            name => format!("CA {ca:?}: token {name:?}: {error}"),
        };
        if enough {
            tracing::error!(ca.id = ca, token = name, error = text, "a token is not ready");
            signer.take_for_down(error);
        } else if first.is_none() {
            first = Some(match error {
                OpenError::PinRefused { .. } => StartError::PinRefused(text),
                _ => StartError::Failed(text),
            });
        }
    }
    first.map_or(Ok(()), Err)
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

/// What `digest` and `rsa_padding` ask of a key of this type; `None` is what suits it.
fn algorithm(ca: &Ca, key_type: KeyType) -> Result<Option<SignatureAlgorithm>, String> {
    let hash = ca.digest.map(|digest| match digest {
        Digest::Sha256 => Hash::Sha256,
        Digest::Sha384 => Hash::Sha384,
        Digest::Sha512 => Hash::Sha512,
    });
    if ca.rsa_padding == RsaPadding::Pss && !matches!(key_type, KeyType::Rsa(_)) {
        return Err(format!(
            "rsa_padding = \"pss\" is for RSA keys, and the key in the certificate is {key_type}: \
             remove rsa_padding"
        ));
    }
    match (key_type, ca.rsa_padding, hash) {
        (KeyType::Rsa(_), RsaPadding::Pss, hash) => {
            Ok(Some(SignatureAlgorithm::RsaPss(hash.unwrap_or(Hash::Sha256))))
        }
        (KeyType::Rsa(_), RsaPadding::Pkcs1, Some(hash)) => {
            Ok(Some(SignatureAlgorithm::RsaPkcs1(hash)))
        }
        (KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521, _, Some(hash)) => {
            Ok(Some(SignatureAlgorithm::Ecdsa(hash)))
        }
        (KeyType::Ed25519 | KeyType::MlDsa(_), _, Some(_)) => Err(format!(
            "digest is set, and the key in the certificate is {key_type}, which hashes in a way of \
             its own: remove digest"
        )),
        (_, _, None) => Ok(None),
    }
}

async fn proof(ca: &Ca) -> Result<Proof, String> {
    let known = |name: &&str| {
        ChallengeType::from_name(name).ok_or_else(|| format!("{name} is no type of challenge"))
    };
    let challenges = ca.challenges.iter().map(known).collect::<Result<_, _>>()?;
    let mut attestation_roots = Roots::default();
    for file in &ca.attestation_roots {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = tokio::fs::read_to_string(file).await.map_err(|error| wrong(&error))?;
        attestation_roots.add_pem(&text).map_err(|error| wrong(&error))?;
    }
    Ok(Proof { challenges, attestation_roots, caa: ca.caa })
}

/// A token that is away keeps only its own CAs down, and is probed until it is back. But where no
/// CA can sign, there is nothing to serve: most likely the configuration is wrong, and somebody is
/// there to see to it.
pub(super) fn demand_a_signer(authorities: &Authorities) -> Result<(), StartError> {
    let mut down = Vec::new();
    for authority in authorities.iter() {
        match authority.signer.health() {
            Health::Up => return Ok(()),
            Health::Down(why) => down.push(format!("CA {:?}: {why}", authority.id)),
        }
    }
    Err(StartError::Failed(down.join("; ")))
}

/// A signer for a key that makes a test signature first; the token is waited for no longer than when
/// kipuka starts.
pub(crate) async fn open_signer(
    token: &Arc<Token>,
    cka_id: &[u8],
    public_key: &PublicKey,
) -> Result<Pkcs11Signer, StartError> {
    let (token, cka_id, public_key) = (Arc::clone(token), cka_id.to_vec(), public_key.clone());
    match ask(move || Pkcs11Signer::open(&token, &cka_id, None, &public_key)).await? {
        Ok(signer) => Ok(signer),
        Err(error @ OpenError::PinRefused { .. }) => Err(StartError::PinRefused(error.to_string())),
        Err(error) => Err(StartError::Failed(error.to_string())),
    }
}

/// Opens every `[[ca]]`, and has the store know their chains.
pub(super) async fn open_authorities(
    config: &Config,
    tokens: &Tokens,
    store: &Store,
    http_url: Option<&str>,
    now: Timestamp,
) -> Result<Authorities, StartError> {
    let mut authorities = Vec::with_capacity(config.cas.len());
    let keys_in = |token: &str| {
        let is_in = |ca: &&Ca| matches!(&ca.key, CaKey::Hsm { tokens, .. } if tokens.iter().any(|name| name == token));
        config.cas.iter().filter(is_in).count()
    };
    let _until_all_are_open: Vec<_> =
        tokens.iter().map(|(name, token)| Surveyed::new(token, keys_in(name))).collect();
    for ca in &config.cas {
        let authority = open_authority(ca, tokens, Demand::NoneIsWrong, http_url, now).await?;
        tracing::info!(
            ca.id = authority.id,
            ca.name = authority.name,
            key = authority.signer.describe(),
            "CA opened"
        );
        warn_of_crl(&authority);
        authorities.push(Arc::new(authority));
    }
    let chains = authorities.iter().map(|authority| authority.chain.download_chain());
    // In one order in every instance: none waits for another that waits for it.
    let chains: BTreeSet<_> = chains.collect();
    store.keep_issuers(chains).await.map_err(|error| StartError::new("database", error))?;
    Ok(Authorities::new(authorities))
}

/// Says where clients will not learn of revocations.
fn warn_of_crl(authority: &Authority) {
    let id = &authority.id;
    if authority.crl_validity.is_none() {
        tracing::warn!(
            ca.id = id,
            "this CA signs no CRL: its certificate's keyUsage lacks cRLSign"
        );
    } else if authority.profile.crl_distribution_point.is_none() {
        tracing::warn!(
            ca.id = id,
            "certificates of this CA name no CRL: set [server] http_url, or http_listen and external_url"
        );
    }
}
