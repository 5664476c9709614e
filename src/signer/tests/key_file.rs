use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;

use super::suite::{self, runtime};
use crate::signer::key_file::{KeyFile, KeyFileError, generate};
use crate::signer::pkcs11::keygen::KeySpec;
use crate::signer::{SignError, Signer, UnfitKey, verified};
use crate::x509::algorithm::{Hash, PublicKey, SignatureAlgorithm};

fn in_dir(test: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    test(dir.path());
}

fn write(dir: &Path, pem: &[u8]) -> PathBuf {
    let path = dir.join("key.pem");
    fs::write(&path, pem).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    path
}

fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

fn make(spec: KeySpec, algorithms: &[Option<SignatureAlgorithm>]) -> Vec<Arc<dyn Signer>> {
    let key = match spec {
        KeySpec::Rsa2048 => rsa(2048),
        KeySpec::Rsa3072 => rsa(3072),
        KeySpec::Rsa4096 => rsa(4096),
        KeySpec::EcP256 => ec(Nid::X9_62_PRIME256V1),
        KeySpec::EcP384 => ec(Nid::SECP384R1),
        KeySpec::EcP521 => ec(Nid::SECP521R1),
        KeySpec::Ed25519 => PKey::generate_ed25519().unwrap(),
        KeySpec::MlDsa(_) => panic!("ML-DSA keys are in tokens"),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &key.private_key_to_pem_pkcs8().unwrap());
    let expected = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
    let open = |algorithm: &Option<_>| {
        Arc::new(KeyFile::open(&path, *algorithm, Some(&expected)).unwrap()) as Arc<dyn Signer>
    };
    algorithms.iter().map(open).collect()
}

#[test]
fn every_algorithm_signs() {
    suite::every_algorithm_signs(&make, suite::EVERY_KEY_BUT_ML_DSA);
}

#[test]
fn many_tasks_sign_at_once() {
    suite::many_tasks_sign_at_once(&make);
}

#[test]
fn pkcs8_sec1_and_pkcs1_are_read() {
    let (rsa, ec) = (rsa(2048), ec(Nid::SECP384R1));
    for pem in [
        rsa.private_key_to_pem_pkcs8().unwrap(),
        rsa.rsa().unwrap().private_key_to_pem().unwrap(),
        ec.private_key_to_pem_pkcs8().unwrap(),
        ec.ec_key().unwrap().private_key_to_pem().unwrap(),
    ] {
        in_dir(|dir| {
            let path = write(dir, &pem);
            let signer = KeyFile::open(&path, None, None).unwrap();
            runtime().block_on(signer.sign(b"message".to_vec())).unwrap();
            assert!(signer.describe().contains(path.to_str().unwrap()));
        });
    }
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    in_dir(|dir| {
        let path = write(dir, &ec(Nid::X9_62_PRIME256V1).private_key_to_pem_pkcs8().unwrap());
        for mode in [0o440, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = KeyFile::open(&path, None, None).err().unwrap().to_string();
            assert!(error.contains(&format!("chmod 0400 {}", path.display())), "{error}");
        }
        for mode in [0o400, 0o600] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            KeyFile::open(&path, None, None).unwrap();
        }
    });
}

#[test]
fn a_key_that_is_no_use_is_refused_with_the_reason() {
    let fails = |pem: &[u8]| {
        let mut error = None;
        in_dir(|dir| error = KeyFile::open(&write(dir, pem), None, None).err());
        error.unwrap()
    };
    let short = fails(&rsa(1024).private_key_to_pem_pkcs8().unwrap());
    assert!(matches!(short, KeyFileError::Unfit { reason: UnfitKey::TooShort(_), .. }), "{short}");
    let ed448 = fails(&PKey::generate_ed448().unwrap().private_key_to_pem_pkcs8().unwrap());
    assert!(matches!(ed448, KeyFileError::UnreadableKey { .. }), "{ed448}");
    // It must not ask for a passphrase either: there is nobody at the terminal.
    let encrypted = ec(Nid::X9_62_PRIME256V1)
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret")
        .unwrap();
    for pem in [&encrypted[..], b"", b"garbage"] {
        assert!(matches!(fails(pem), KeyFileError::NoKey { .. }));
    }
    let absent = KeyFile::open(Path::new("/nonexistent/key.pem"), None, None).err().unwrap();
    assert!(absent.to_string().contains("/nonexistent/key.pem"), "{absent}");
}

#[test]
fn an_algorithm_that_does_not_fit_the_key_is_refused() {
    in_dir(|dir| {
        let path = write(dir, &ec(Nid::X9_62_PRIME256V1).private_key_to_pem_pkcs8().unwrap());
        let error = KeyFile::open(&path, Some(SignatureAlgorithm::RsaPkcs1(Hash::Sha256)), None)
            .err()
            .unwrap();
        assert!(error.to_string().contains("EC P-256 key cannot sign RSA with SHA-256"), "{error}");
    });
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused_with_both_key_ids() {
    in_dir(|dir| {
        let key = generate(&dir.join("one.pem")).unwrap();
        let other = generate(&dir.join("other.pem")).unwrap();
        let error = KeyFile::open(&dir.join("one.pem"), None, Some(&other)).err().unwrap();
        let said = error.to_string();
        assert!(said.contains(&key.key_identifier_hex()), "{said}");
        assert!(said.contains(&other.key_identifier_hex()), "{said}");
    });
}

#[test]
fn a_generated_key_is_its_owners_alone_and_never_overwrites_one() {
    in_dir(|dir| {
        let path = dir.join("new.pem");
        // What a run that was killed leaves behind is no obstacle.
        fs::write(dir.join("new.pem.new"), "half a k").unwrap();
        let key = generate(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        KeyFile::open(&path, None, Some(&key)).unwrap();
        assert!(matches!(generate(&path), Err(KeyFileError::Unwritable { .. })));
        KeyFile::open(&path, None, Some(&key)).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
    });
}

#[test]
fn a_wrong_signature_is_not_let_out() {
    in_dir(|dir| {
        let key = generate(&dir.join("key.pem")).unwrap();
        let wrong = verified(
            &key,
            SignatureAlgorithm::Ecdsa(Hash::Sha256),
            b"message".to_vec(),
            vec![1; 70],
        );
        let key_identifier = key.key_identifier_hex();
        assert_eq!(wrong, Err(SignError::WrongSignature { key_identifier }));
    });
}
