//! instant-acme.

use std::net::Ipv4Addr;
use std::time::Duration;

use harness::csr::{self, Csr};
use harness::external_account::{Credentials, decode};
use harness::{Ca, Database, Server, Settings};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy, RevocationReason,
    RevocationRequest,
};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use rustls::pki_types::Der;

use crate::{assert_revoked, assert_short, chain, server_with_external_accounts};

/// Two CAs of different key types in one token.
async fn two_cas(database: &Database) -> Server {
    let settings = Settings {
        cas: vec![
            Ca::Token { id: "ec", key_type: "EC:prime256v1", cka_id: 1 },
            Ca::Token { id: "rsa", key_type: "rsa:3072", cka_id: 2 },
        ],
        database_url: Some(database.url()),
        ..Settings::default()
    };
    Server::start(harness::server::binary(), settings).await
}

async fn account(server: &Server, ca: &str) -> Account {
    bound_account(server, ca, None).await
}

async fn bound_account(server: &Server, ca: &str, external: Option<&Credentials>) -> Account {
    // The library takes the process's default, and two providers are linked here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let new = NewAccount {
        contact: &["mailto:admin@example.test"],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external = external
        .map(|external| ExternalAccountKey::new(external.kid.clone(), &decode(&external.hmac_key)));
    let (account, _) = Account::builder_with_root(root(server))
        .unwrap()
        .create(&new, server.directory(ca), external.as_ref())
        .await
        .unwrap();
    account
}

fn dns(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect()
}

/// Orders, proves all that is not proved yet, and downloads: the chain.
async fn issue(
    server: &Server,
    account: &Account,
    new_order: NewOrder<'_>,
    kind: ChallengeType,
    key: PKey<Private>,
) -> Vec<X509> {
    let mut order = account.new_order(&new_order).await.unwrap();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
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
    let names: Vec<_> = new_order
        .identifiers()
        .iter()
        .map(|identifier| identifier.authorized(false).to_string())
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let csr = Csr { key, ..Csr::new(&names) }.der();
    order.finalize_csr(&csr).await.unwrap();
    let pem = order.poll_certificate(&RetryPolicy::default()).await.unwrap();
    std::fs::write(server.folder.path().join("chain.pem"), pem).unwrap();
    chain(server, "chain.pem")
}

/// The library reads one root from a file, and each CA here is its own.
fn root(server: &Server) -> std::path::PathBuf {
    // kipuka's own server certificate is from the first CA, whichever the directory.
    server.token.as_ref().unwrap().path().join("ca-01.pem")
}

async fn every_challenge_type_one_and_a_hundred_names_rsa_and_ec_keys(database: Database) {
    let server = two_cas(&database).await;
    for ca in ["ec", "rsa"] {
        let account = account(&server, ca).await;
        for (index, kind) in [ChallengeType::Http01, ChallengeType::Dns01, ChallengeType::TlsAlpn01]
            .into_iter()
            .enumerate()
        {
            for (key_type, key) in [("ec", csr::p256()), ("rsa", csr::rsa(2048))] {
                let names = dns(&[&format!("n{index}.{key_type}.{ca}.test")]);
                issue(&server, &account, NewOrder::new(&names), kind.clone(), key).await;
            }
        }
        let names = dns(&[&format!("{ca}.test"), &format!("*.{ca}.test")]);
        let order = NewOrder::new(&names);
        issue(&server, &account, order, ChallengeType::Dns01, csr::p256()).await;
        if ca == "ec" {
            let names = (0..100).map(|index| Identifier::Dns(format!("n{index}.{ca}.test")));
            let names: Vec<_> = names.collect();
            let order = NewOrder::new(&names);
            issue(&server, &account, order, ChallengeType::Http01, csr::p256()).await;
        }
        account.update_contacts(&["mailto:other@example.test"]).await.unwrap();
        account.deactivate().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_acme_gets_everything_on_sqlite() {
    every_challenge_type_one_and_a_hundred_names_rsa_and_ec_keys(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_acme_gets_everything_on_postgres() {
    every_challenge_type_one_and_a_hundred_names_rsa_and_ec_keys(Database::postgres()).await;
}

/// As RFC 9773 §4.1 names a certificate.
fn identifier(certificate: &X509) -> CertificateIdentifier<'static> {
    let authority = certificate.authority_key_id().unwrap().as_slice();
    // kipuka's serials are positive as they stand.
    let serial = certificate.serial_number().to_bn().unwrap().to_vec();
    CertificateIdentifier::new(Der::from_slice(authority), Der::from_slice(&serial)).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_acme_binds_its_account_changes_its_key_certifies_an_ip_address_and_revokes() {
    let (server, external) = server_with_external_accounts(Settings::default()).await;
    let mut account = bound_account(&server, "ca", Some(&external)).await;
    let _credentials = account.update_key().await.unwrap();
    let mut names = dns(&["www.example.test"]);
    names.push(Identifier::Ip(Ipv4Addr::LOCALHOST.into()));
    let order = NewOrder::new(&names);
    let chain = issue(&server, &account, order, ChallengeType::Http01, csr::p256()).await;
    let request = RevocationRequest {
        certificate: &chain[0].to_der().unwrap().into(),
        reason: Some(RevocationReason::KeyCompromise),
    };
    account.revoke(&request).await.unwrap();
    assert_revoked(&server, &[&chain[0]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_acme_orders_by_profile_reads_renewal_information_and_replaces() {
    let (server, external) = server_with_external_accounts(Settings::default()).await;
    let account = bound_account(&server, "ca", Some(&external)).await;
    let offered: Vec<_> = account.profiles().map(|profile| profile.name.to_owned()).collect();
    assert!(offered.iter().any(|name| name == "short"), "{offered:?}");
    let names = dns(&["www.example.test"]);
    let order = NewOrder::new(&names).profile("short");
    let first = issue(&server, &account, order, ChallengeType::Http01, csr::p256()).await.remove(0);
    assert_short(&first);
    let (information, retry_after) = account.renewal_info(&identifier(&first)).await.unwrap();
    assert!(information.suggested_window.start < information.suggested_window.end);
    assert!(retry_after >= Duration::from_secs(60));
    let order = || NewOrder::new(&names).profile("short").replaces(identifier(&first));
    let next =
        issue(&server, &account, order(), ChallengeType::Http01, csr::p256()).await.remove(0);
    assert_short(&next);
    match account.new_order(&order()).await {
        Err(Error::Api(problem)) => {
            let kind = problem.r#type.unwrap();
            assert_eq!(kind, "urn:ietf:params:acme:error:alreadyReplaced");
        }
        other => panic!("it is replaced already: {:?}", other.map(|order| order.url().to_owned())),
    }
}
