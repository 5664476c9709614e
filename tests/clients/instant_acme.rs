//! instant-acme.

use harness::Server;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::{openssl_verify, server};

async fn account(server: &Server) -> Account {
    // The library takes the process's default, and two providers are linked here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let new = NewAccount {
        contact: &["mailto:admin@example.test"],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, _) = Account::builder_with_root(server.root())
        .unwrap()
        .create(&new, server.directory("ca"), None)
        .await
        .unwrap();
    account
}

async fn issue(
    server: &Server,
    account: &Account,
    names: &[String],
    kind: ChallengeType,
) -> String {
    let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.unwrap();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        assert_eq!(authorization.status, AuthorizationStatus::Pending);
        let mut challenge = authorization.challenge(kind.clone()).unwrap();
        let name = challenge.identifier().to_string();
        let name = name.trim_start_matches("*.");
        let key_authorization = challenge.key_authorization();
        match kind {
            ChallengeType::Http01 => {
                server.responder.show_http01(&challenge.token, key_authorization.as_str());
            }
            ChallengeType::TlsAlpn01 => {
                server.responder.show_tls_alpn01(name, key_authorization.as_str());
            }
            _ => server
                .zone
                .add_txt(&format!("_acme-challenge.{name}"), &key_authorization.dns_value()),
        }
        challenge.set_ready().await.unwrap();
    }
    assert_eq!(order.poll_ready(&RetryPolicy::default()).await.unwrap(), OrderStatus::Ready);
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    let csr = parameters.serialize_request(&key).unwrap();
    order.finalize_csr(csr.der()).await.unwrap();
    order.poll_certificate(&RetryPolicy::default()).await.unwrap()
}

fn verify(server: &Server, pem: &str) {
    let file = server.folder.path().join("chain.pem");
    std::fs::write(&file, pem).unwrap();
    openssl_verify(server, &file.to_string_lossy());
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_acme_issues_with_every_challenge_type() {
    let server = server().await;
    let account = account(&server).await;
    for (index, kind) in [ChallengeType::Http01, ChallengeType::Dns01, ChallengeType::TlsAlpn01]
        .into_iter()
        .enumerate()
    {
        let chain = issue(&server, &account, &[format!("n{index}.test")], kind).await;
        verify(&server, &chain);
    }
    let names = ["w.test".to_owned(), "*.w.test".to_owned()];
    let chain = issue(&server, &account, &names, ChallengeType::Dns01).await;
    verify(&server, &chain);
    account.update_contacts(&["mailto:other@example.test"]).await.unwrap();
    account.deactivate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_acme_gets_a_hundred_names_into_one_certificate() {
    let server = server().await;
    let account = account(&server).await;
    let names: Vec<_> = (0..100).map(|index| format!("n{index}.test")).collect();
    let chain = issue(&server, &account, &names, ChallengeType::Http01).await;
    verify(&server, &chain);
}
