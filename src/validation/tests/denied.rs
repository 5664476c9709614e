//! What `denied_networks` forbids, and what is forbidden always.

use super::super::denied::DeniedNetworks;
use super::zone::{Lie, record_a};
use super::*;

fn networks(configured: &[&str]) -> DeniedNetworks {
    DeniedNetworks::new(configured.iter().map(|text| text.parse::<IpNet>().unwrap()).collect())
}

#[test]
fn addresses_that_lead_nowhere_good_are_forbidden_always() {
    let none = networks(&[]);
    for bad in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "64:ff9b::a83f:8110",
        "100.100.100.200",
        "::ffff:100.100.100.200",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "239.255.255.255",
        "ff02::1",
        "255.255.255.255",
    ] {
        assert!(none.forbids(bad.parse().unwrap()).is_some(), "{bad}");
    }
    for good in [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.0.2.1",
        "2001:db8::1",
        "169.254.169.253",
        "100.100.100.201",
    ] {
        assert!(none.forbids(good.parse().unwrap()).is_none(), "{good}");
    }
}

#[test]
fn a_configured_network_covers_its_mapped_form_both_ways() {
    for written in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
        let networks = networks(&[written]);
        for bad in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"] {
            assert!(networks.forbids(bad.parse().unwrap()).is_some(), "{bad} in {written}");
        }
        assert!(networks.forbids("11.1.2.3".parse().unwrap()).is_none());
    }
}

#[tokio::test]
async fn a_name_in_a_denied_network_is_not_connected_to() {
    for address in ["127.0.0.1", "::ffff:127.0.0.1"] {
        let dns = Zone::new().address("a.test", address).serve().await;
        let web = Web::right().serve("127.0.0.1:0").await;
        let options =
            Options { denied_networks: vec!["127.0.0.0/8".parse().unwrap()], ..web.options(dns) };
        let outcome = attempt(options, ChallengeType::Http01, "a.test").await;
        let detail = refused(outcome, ProblemType::Connection);
        says(&detail, &["GET http://a.test:", "127.0.0.1, which is in 127.0.0.0/8"]);
        assert!(web.requests().is_empty());
    }
}

#[tokio::test]
async fn a_denied_address_beside_a_permitted_one_is_left_out() {
    let dns = Zone::new()
        .address("a.test", "::1")
        .address("a.test", "169.254.169.254")
        .address("a.test", "127.0.0.1")
        .serve()
        .await;
    let web = Web::right().serve("127.0.0.1:0").await;
    let options = Options { denied_networks: vec!["::1/128".parse().unwrap()], ..web.options(dns) };
    proved(attempt(options, ChallengeType::Http01, "a.test").await);
}

#[tokio::test]
async fn localhost_may_be_denied_too() {
    let dns = Zone::new().serve().await;
    let denied = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let options = Options { denied_networks: denied, ..options(dns) };
    for method in [ChallengeType::Http01, ChallengeType::TlsAlpn01] {
        let outcome = attempt(options.clone(), method, "a.localhost").await;
        refused(outcome, ProblemType::Connection);
    }
}

#[tokio::test]
async fn a_forged_address_is_passed_over() {
    let dns = Zone::new()
        .address("a.test", "127.0.0.1")
        .lying(Lie::Id, record_a("169.254.169.254"))
        .serve()
        .await;
    let web = Web::right().serve("127.0.0.1:0").await;
    proved(attempt(web.options(dns), ChallengeType::Http01, "a.test").await);
}
