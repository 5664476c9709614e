//! What reads bytes from strangers, for the fuzz targets of `tests/fuzz`. It is there with
//! `--cfg fuzzing` and in no other build.

use std::path::Path;

use crate::attestation::{self, Expected, Roots};
use crate::config::{self, Needs};
use crate::jose::external_account::ExternalAccountJws;
use crate::jose::jwk::Jwk;
use crate::jose::jws::{self, KeyReference};
use crate::jose::key_change::KeyChange;
use crate::jose::verify::Verifier;
use crate::validation;
use crate::x509::csr::{self, CertificateRequest};

/// A target's name, and what it does with an input; it panics where something is wrong.
pub type Target = (&'static str, fn(&[u8]));

/// One for each place where bytes from outside are first looked at.
pub const TARGETS: [Target; 10] = [
    ("jws", jws),
    ("jwk", jwk),
    ("eab", eab),
    ("key_change", key_change),
    ("csr", csr),
    ("attestation", attestation),
    ("dns", validation::fuzz_dns),
    ("http01", validation::fuzz_http01),
    ("tls_alpn01", validation::fuzz_tls_alpn01),
    ("config", config),
];

/// A request's body (RFC 8555 §6.2).
fn jws(body: &[u8]) {
    let Ok(jws) = jws::parse(body) else { return };
    if let KeyReference::Jwk(key) = jws.key() {
        // A key that was taken can be asked, and did not sign what a fuzzer wrote.
        let verifier = Verifier::new(key, jws.algorithm());
        let _ = verifier.map(|verifier| verifier.verify(&jws));
    }
}

/// An account key: whatever is taken has one form, and comes back from the database as it was.
fn jwk(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(key) = Jwk::from_json(text) else { return };
    let canonical = key.canonical_json();
    let again = Jwk::from_json(&canonical).expect("what was written is read");
    assert_eq!(key, again);
    assert_eq!(canonical, again.canonical_json());
    assert_eq!(key.thumbprint(), again.thumbprint());
    // OpenSSL may refuse it, but not take it for another.
    assert_eq!(key.spki().ok(), again.spki().ok());
}

/// An external account binding (RFC 8555 §7.3.4): what the account shows of it is read as it was sent.
fn eab(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(Some(binding)) = ExternalAccountJws::read(text) else { return };
    // Nobody guesses a MAC.
    assert!(!binding.verify(&[7; 32]));
    let again = ExternalAccountJws::read(&binding.to_json());
    assert!(matches!(again, Ok(Some(again)) if again.kid == binding.kid));
}

/// What the new key signs (RFC 8555 §7.3.5).
fn key_change(payload: &[u8]) {
    let _ = KeyChange::read(payload);
}

/// A certificate request; one that is accepted is read the same way when its certificate is issued.
fn csr(der: &[u8]) {
    let Ok(request) = CertificateRequest::from_der(der) else { return };
    let key = csr::key_of_accepted(der).expect("it was accepted");
    assert_eq!(&key, request.public_key());
}

/// A device's attestation object. The roots vouch for what the seeds have, so that more than the object is read.
fn attestation(object: &[u8]) {
    let mut roots = Roots::default();
    roots.add_pem(include_str!("../tests/fuzz/attestation-root.pem")).expect("it is a certificate");
    let expected = Expected {
        token: "token",
        key_authorization: "token.thumbprint",
        device: "12345678",
        assigner: None,
        now_s: 1_800_000_000,
    };
    let _ = attestation::verify(object, &roots, &expected);
}

/// kipuka.toml, before any other file is looked at.
fn config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let variable = |name: &str| name.ends_with('N').then(|| "value".to_owned());
    match config::parse(Path::new("/etc/kipuka.toml"), text, &variable, Needs::Text) {
        Ok((config, warnings)) => drop((format!("{config:?}"), warnings)),
        // Each mistake is told by its line.
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}
