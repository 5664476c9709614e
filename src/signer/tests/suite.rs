//! What every signer does, whatever holds its key. Instantiated in `key_file` and `token`.

use std::sync::Arc;

use crate::signer::pkcs11::keygen::KeySpec;
use crate::signer::{Health, Signer};
use crate::x509::algorithm::SignatureAlgorithm;
use crate::x509::algorithm::SignatureAlgorithm::{
    EcdsaSha256, EcdsaSha384, RsaSha256, RsaSha384, RsaSha512,
};

/// Makes a key and the signers over it, one for each algorithm.
pub(super) type MakeSigners<'a> =
    &'a dyn Fn(KeySpec, &[Option<SignatureAlgorithm>]) -> Vec<Arc<dyn Signer>>;

pub(super) fn every_algorithm_signs(make: MakeSigners<'_>) {
    let rsa = [None, Some(RsaSha256), Some(RsaSha384), Some(RsaSha512)];
    let ecdsa = [None, Some(EcdsaSha256), Some(EcdsaSha384)];
    for (spec, algorithms, default) in [
        (KeySpec::Rsa2048, &rsa[..], RsaSha256),
        (KeySpec::Rsa3072, &rsa[..], RsaSha256),
        (KeySpec::Rsa4096, &rsa[..], RsaSha256),
        (KeySpec::EcP256, &ecdsa[..], EcdsaSha256),
        (KeySpec::EcP384, &ecdsa[..], EcdsaSha384),
    ] {
        for (signer, asked) in make(spec, algorithms).iter().zip(algorithms) {
            assert_eq!(signer.algorithm(), asked.unwrap_or(default));
            for message in [&b""[..], b"message", &[7; 100_000]] {
                let signature = runtime().block_on(signer.sign(message.to_vec())).unwrap();
                let verified = signer.public_key().verify(signer.algorithm(), message, &signature);
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
                    assert!(signer.public_key().verify(signer.algorithm(), &message, &signature));
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
