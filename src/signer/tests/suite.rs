//! What every signer does, whatever holds its key. Instantiated in `key_file` and `token`.

use std::sync::Arc;

use crate::signer::pkcs11::keygen::KeySpec;
use crate::signer::{Health, Signer};
use crate::x509::algorithm::{Hash, SignatureAlgorithm};

/// Makes a key and the signers over it, one for each algorithm.
pub(super) type MakeSigners<'a> =
    &'a dyn Fn(KeySpec, &[Option<SignatureAlgorithm>]) -> Vec<Arc<dyn Signer>>;

pub(super) const EVERY_KEY_BUT_ML_DSA: &[KeySpec] = &[
    KeySpec::Rsa2048,
    KeySpec::Rsa3072,
    KeySpec::Rsa4096,
    KeySpec::EcP256,
    KeySpec::EcP384,
    KeySpec::EcP521,
    KeySpec::Ed25519,
];

/// The default, and everything else that such a key signs.
fn algorithms(spec: KeySpec) -> (SignatureAlgorithm, Vec<SignatureAlgorithm>) {
    use SignatureAlgorithm as A;
    let rsa = [Hash::ALL.map(A::RsaPkcs1), Hash::ALL.map(A::RsaPss)].concat();
    match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => (A::RsaPkcs1(Hash::Sha256), rsa),
        KeySpec::EcP256 => (A::Ecdsa(Hash::Sha256), Hash::ALL.map(A::Ecdsa).to_vec()),
        KeySpec::EcP384 => (A::Ecdsa(Hash::Sha384), Hash::ALL.map(A::Ecdsa).to_vec()),
        KeySpec::EcP521 => (A::Ecdsa(Hash::Sha512), Hash::ALL.map(A::Ecdsa).to_vec()),
        KeySpec::Ed25519 => (A::Ed25519, vec![A::Ed25519]),
        KeySpec::MlDsa(set) => (A::MlDsa(set), vec![A::MlDsa(set)]),
    }
}

pub(super) fn every_algorithm_signs(make: MakeSigners<'_>, specs: &[KeySpec]) {
    for spec in specs {
        let (spec, (default, algorithms)) = (*spec, algorithms(*spec));
        let asked: Vec<_> = std::iter::once(None).chain(algorithms.into_iter().map(Some)).collect();
        for (signer, asked) in make(spec, &asked).iter().zip(&asked) {
            assert_eq!(signer.algorithm(), asked.unwrap_or(default));
            for message in [&b""[..], b"message", &[7; 1_000_000]] {
                let signature = runtime().block_on(signer.sign(message.to_vec())).unwrap();
                let (key, algorithm) = (signer.public_key(), signer.algorithm());
                assert!(signature.is_by(key, algorithm, message));
                let verified = key.verify(algorithm, message, signature.as_bytes());
                assert!(verified, "{spec}, {asked:?}, {} bytes", message.len());
            }
            assert_eq!(signer.health(), Health::Up);
        }
    }
}

pub(super) fn many_tasks_sign_at_once(make: MakeSigners<'_>) {
    let signer = make(KeySpec::EcP256, &[None]).remove(0);
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..32_u8 {
            let signer = Arc::clone(&signer);
            tasks.spawn(async move {
                for turn in 0..8_u8 {
                    let message = vec![task, turn];
                    let signature = signer.sign(message.clone()).await.unwrap();
                    assert!(signature.is_by(signer.public_key(), signer.algorithm(), &message));
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    });
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
