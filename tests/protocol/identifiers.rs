//! What may be ordered and how a CSR names it (RFC 8555 §7.1.3, §7.4; RFC 8738).

use harness::Client;
use harness::acme::verify_chain;
use harness::csr::Csr;
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::server;

/// The values of the identifiers, sorted.
fn identifiers(order: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = order["identifiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|identifier| (text(&identifier["type"]), text(&identifier["value"])))
        .collect();
    found.sort();
    found
}

/// The dNSNames and the iPAddresses of a certificate.
fn names(certificate: &X509) -> (Vec<String>, Vec<String>) {
    let (mut dns, mut ip) = (Vec::new(), Vec::new());
    for name in certificate.subject_alt_names().unwrap() {
        if let Some(name) = name.dnsname() {
            dns.push(name.to_owned());
        } else if let Some(octets) = name.ipaddress() {
            ip.push(match <[u8; 4]>::try_from(octets) {
                Ok(v4) => std::net::IpAddr::from(v4).to_string(),
                Err(_) => std::net::IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()).to_string(),
            });
        }
    }
    (dns, ip)
}

/// The types of the challenges that are offered for an only identifier.
async fn offered(client: &mut Client, name: &str) -> Vec<String> {
    let order = client.new_order(&[name]).await.expect(201).json();
    let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
    let object = client.post_as_get(&authorization).await.expect(200).json();
    let challenges = object["challenges"].as_array().unwrap().clone();
    let mut types: Vec<_> =
        challenges.iter().map(|challenge| challenge["type"].as_str().unwrap().to_owned()).collect();
    types.sort();
    types
}

/// A server with one account, and a CSR's fate after an order of these names was proved.
async fn finalized(ordered: &[&str], csr: &Csr) -> (u16, String, Option<X509>) {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(ordered).await.prove("http-01").await;
    let answer = order.finalize_with(&csr.der()).await;
    if answer.status != 200 {
        return (answer.status, answer.problem(), None);
    }
    let certificates = order.certificates().await;
    for name in ordered {
        verify_chain(&certificates, &server.roots(), name.trim_end_matches('.'));
    }
    (200, String::new(), certificates.into_iter().next())
}

#[tokio::test]
async fn names_are_folded_on_entry_and_compared_in_any_case_and_u_labels_are_rejected() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let order = client.order(&["A.Test", "XN--BCHER-KVA.test"]).await.prove("http-01").await;
    let dns = |name: &str| ("dns".to_owned(), name.to_owned());
    assert_eq!(identifiers(&order.object), [dns("a.test"), dns("xn--bcher-kva.test")]);
    let mut order = order;
    let csr = Csr::new(&["a.TEST", "Xn--bcher-kva.TEST"]).der();
    order.finalize_with(&csr).await.expect(200);
    let certificate = order.certificates().await.remove(0);
    assert_eq!(names(&certificate).0, ["a.test", "xn--bcher-kva.test"]);
    for name in ["bücher.test", "BÜCHER.test", "xn--a.test"] {
        client.new_order(&[name]).await.expect_problem(400, "rejectedIdentifier");
    }
}

#[tokio::test]
async fn a_name_ordered_twice_counts_once_whatever_the_order_of_names() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let names = ["b.test", "127.0.0.1", "a.test", "B.test.", "127.0.0.1"];
    let order = client.order(&names).await;
    assert_eq!(order.object["authorizations"].as_array().unwrap().len(), 3);
    let mut order = order.prove("http-01").await;
    let csr = Csr::new(&["127.0.0.1", "b.test", "a.test", "b.test"]).der();
    assert_eq!(order.finalize_with(&csr).await.expect(200).json()["status"], "valid");
}

#[tokio::test]
async fn a_final_dot_is_stripped_for_comparing() {
    let csr = Csr { common_name: Some("A.test.".to_owned()), ..Csr::new(&["a.test."]) };
    let (status, problem, certificate) = finalized(&["a.test."], &csr).await;
    assert_eq!((status, problem.as_str()), (200, ""));
    assert_eq!(names(&certificate.unwrap()).0, ["a.test"]);
}

#[tokio::test]
async fn an_ordered_address_may_stand_in_a_csr_as_ip_san_as_common_name_or_as_dns_name() {
    let none = || Csr { dns_names: Vec::new(), ip_addresses: Vec::new(), ..Csr::new(&[]) };
    let address = || vec!["127.0.0.1".to_owned()];
    for csr in [
        Csr { ip_addresses: address(), ..none() },
        Csr { ip_addresses: address(), common_name: Some("127.0.0.1".to_owned()), ..none() },
        Csr { common_name: Some("127.0.0.1".to_owned()), ..none() },
        Csr { dns_names: address(), ..none() },
        Csr { dns_names: address(), ip_addresses: address(), ..none() },
    ] {
        let (status, problem, certificate) = finalized(&["127.0.0.1"], &csr).await;
        assert_eq!((status, problem.as_str()), (200, ""), "{csr:?}");
        let certificate = certificate.unwrap();
        assert_eq!(names(&certificate), (vec![], address()), "an iPAddress and nothing else");
        assert_eq!(certificate.subject_name().entries().count(), 0, "never a common name");
    }
    for csr in [
        Csr { ip_addresses: address(), ..Csr::new(&["a.test"]) },
        Csr { common_name: Some("127.0.0.1".to_owned()), ..Csr::new(&["a.test"]) },
        Csr { dns_names: vec!["a.test".to_owned(), "127.0.0.1".to_owned()], ..none() },
        Csr { ip_addresses: vec!["127.0.0.2".to_owned()], ..Csr::new(&["a.test"]) },
    ] {
        let (status, problem, _) = finalized(&["a.test"], &csr).await;
        assert_eq!((status, problem.as_str()), (400, "badCSR"), "not ordered: {csr:?}");
    }
}

#[tokio::test]
async fn a_common_name_is_optional_may_be_empty_and_must_be_ordered_where_there_is_one() {
    let with = |common_name: Option<&str>| Csr {
        common_name: common_name.map(str::to_owned),
        ..Csr::new(&["a.test", "b.test"])
    };
    for (common_name, expected) in [
        (None, (200, "")),
        (Some(""), (200, "")),
        (Some("b.test"), (200, "")),
        (Some("c.test"), (400, "badCSR")),
        (Some("My server"), (400, "badCSR")),
    ] {
        let (status, problem, _) = finalized(&["a.test", "b.test"], &with(common_name)).await;
        assert_eq!((status, problem.as_str()), expected, "{common_name:?}");
    }
    let only = Csr { dns_names: vec![], common_name: Some("a.test".to_owned()), ..Csr::new(&[]) };
    assert_eq!(finalized(&["a.test"], &only).await.0, 200, "no subjectAltName at all");
}

#[tokio::test]
async fn a_name_of_another_type_in_a_csr_is_bad_and_never_dropped() {
    let csr = Csr { mail_address: Some("a@a.test"), ..Csr::new(&["a.test"]) };
    let (status, problem, _) = finalized(&["a.test"], &csr).await;
    assert_eq!((status, problem.as_str()), (400, "badCSR"));
}

#[tokio::test]
async fn an_order_of_an_address_and_a_name_gives_one_certificate_for_both() {
    let ordered = ["127.0.0.1", "a.test"];
    let (status, problem, certificate) = finalized(&ordered, &Csr::new(&ordered)).await;
    assert_eq!((status, problem.as_str()), (200, ""));
    let expected = (vec!["a.test".to_owned()], vec!["127.0.0.1".to_owned()]);
    assert_eq!(names(&certificate.unwrap()), expected);
}

#[tokio::test]
async fn an_address_is_answered_in_its_one_form_and_proved_over_http_or_tls_only() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let order = client.new_order(&["2001:DB8:0:0::1", "192.0.2.1"]).await.expect(201).json();
    let ip = |address: &str| ("ip".to_owned(), address.to_owned());
    assert_eq!(identifiers(&order), [ip("192.0.2.1"), ip("2001:db8::1")]);
    for url in order["authorizations"].as_array().unwrap() {
        let object = client.post_as_get(url.as_str().unwrap()).await.expect(200).json();
        assert_eq!(object["identifier"]["type"], "ip");
        assert!(object["wildcard"].is_null());
    }
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(offered(&mut client, address).await, ["http-01", "tls-alpn-01"]);
    }
}

#[tokio::test]
async fn an_address_that_no_one_host_has_is_rejected() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    for (kind, value) in [
        ("ip", "0.0.0.0"),
        ("ip", "::"),
        ("ip", "224.0.0.1"),
        ("ip", "ff02::1"),
        ("ip", "255.255.255.255"),
        ("ip", "::ffff:192.0.2.1"),
        ("ip", "fe80::1%eth0"),
        ("ip", "[2001:db8::1]"),
        ("ip", "192.0.2.0/24"),
        ("ip", "a.test"),
        ("ip", "*.192.0.2.1"),
        ("dns", "192.0.2.1"),
        ("dns", "2001:db8::1"),
    ] {
        let payload = json!({ "identifiers": [{ "type": kind, "value": value }] });
        let refused = client.post(&url, &payload).await.expect_problem(400, "rejectedIdentifier");
        assert_eq!(refused.json()["subproblems"][0]["identifier"]["value"], value);
    }
}
