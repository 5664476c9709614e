//! Certificates (RFC 8555 §7.4.2, RFC 5280).

use harness::acme::verify_chain;
use harness::{Settings, csr};

use crate::{server, server_with};

#[tokio::test]
async fn the_download_is_clean_pem_leaf_first_without_the_root() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect(200);
    let url =
        order.client.settled(&order.url.clone()).await["certificate"].as_str().unwrap().to_owned();
    let pem = client.post_as_get(&url).await.expect(200).text();
    assert_eq!(pem.matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
    assert_eq!(pem.matches("-----BEGIN").count(), 2);
    assert!(pem.ends_with("-----END CERTIFICATE-----\n"));
    assert!(!pem.contains('\r') && !pem.contains("\n\n"));
    let mut other = server.account("ca").await;
    other.post_as_get(&url).await.expect_problem(404, "malformed");
    client.get(&url).await.expect_problem(405, "malformed");
}

#[tokio::test]
async fn a_certificate_says_what_the_profile_says() {
    let settings =
        Settings { ca: "validity_days = 7\nclient_auth = true".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    for (key, usage) in [
        (csr::p256(), "Digital Signature\n"),
        (csr::rsa(2048), "Digital Signature, Key Encipherment\n"),
    ] {
        let mut order = client.order(&["a.test"]).await.prove("http-01").await;
        let request = csr::Csr { key, ..order.csr() };
        order.finalize_with(&request.der()).await.expect(200);
        let chain = order.certificates().await;
        verify_chain(&chain, &server.roots(), "a.test");
        let text = String::from_utf8(chain[0].to_text().unwrap()).unwrap();
        assert!(text.contains("Version: 3"), "{text}");
        assert!(text.contains("X509v3 Subject Alternative Name: critical"), "{text}");
        assert!(text.contains("X509v3 Key Usage: critical"), "{text}");
        assert!(text.contains(usage), "{text}");
        assert!(
            text.contains("TLS Web Server Authentication, TLS Web Client Authentication"),
            "{text}"
        );
        assert!(text.contains("CA:FALSE"), "{text}");
        let serial = chain[0].serial_number().to_bn().unwrap();
        assert_eq!(serial.num_bits(), 159);
        let lifetime = chain[0].not_before().diff(chain[0].not_after()).unwrap();
        assert_eq!(
            (lifetime.days, lifetime.secs),
            (6, 24 * 3600 - 1),
            "both ends count (RFC 5280)"
        );
        let now = openssl::asn1::Asn1Time::days_from_now(0).unwrap();
        let age = chain[0].not_before().diff(&now).unwrap();
        assert!(age.days == 0 && (55..120).contains(&age.secs), "backdated by a minute: {age:?}");
    }
}
