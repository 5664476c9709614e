//! The rules, one by one.

use proptest::prelude::*;

use super::*;
use crate::config::{KEY_TYPES, Policy as Keys};

fn patterns(texts: &[&str]) -> Option<Vec<NamePattern>> {
    Some(texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn identifier(text: &str) -> Identifier {
    Identifier::from_text(text).unwrap()
}

/// With these keys in `[policy]`.
fn general(keys: &Keys) -> Policy {
    Policy::new(&Keys::default(), keys)
}

/// What the policy says of a name: the rule, behind `yes` or `no`.
fn said(policy: &Policy, name: &str) -> String {
    match policy.judge(&identifier(name)) {
        Ok(rule) => format!("yes: {rule}"),
        Err(refusal) => format!("no: {}", refusal.rule),
    }
}

#[track_caller]
fn assert_all(policy: &Policy, names: &[(&str, &str)]) {
    for (name, expected) in names {
        assert_eq!(said(policy, name), *expected, "{name}");
    }
}

#[test]
fn an_internal_ca_works_out_of_the_box() {
    let policy = Policy::default();
    for name in [
        "a.example.com",
        "*.example.com",
        "printer",
        "a.lan",
        "a.internal",
        "a.corp",
        "*.a.lan",
        "10.0.0.1",
        "2001:db8::1",
    ] {
        assert_eq!(
            said(&policy, name),
            if name.contains(['1', ':']) {
                "yes: no allow_networks is set"
            } else {
                "yes: no allow is set"
            },
            "{name}"
        );
    }
    assert_all(
        &policy,
        &[
            ("_sip.a.test", "no: underscores = false by default"),
            ("*.lan", "no: no allow is set"),
            ("*.com", "no: no allow is set"),
        ],
    );
    assert!(policy.check_count(100).is_ok() && policy.check_count(101).is_err());
}

#[test]
fn patterns_cover_a_name_all_below_it_or_one_label_below_it() {
    for (pattern, covered, others) in [
        ("*", &["a", "a.test", "*.a.test"][..], &["10.0.0.1", "::1"][..]),
        ("a.test", &["a.test"], &["b.a.test", "*.a.test", "ba.test", "test"]),
        (".a.test", &["b.a.test", "c.b.a.test", "*.a.test", "*.b.a.test"], &["a.test", "ba.test"]),
        ("*.a.test", &["b.a.test", "*.a.test"], &["a.test", "c.b.a.test", "*.b.a.test", "xa.test"]),
        (".corp", &["a.corp", "*.a.corp"], &["corp", "a.corporation", "acorp"]),
        ("10.0.0.0/8", &["10.1.2.3"], &["11.0.0.1", "::1", "a.test"]),
        ("2001:db8::/32", &["2001:db8::1"], &["2001:db9::1", "10.0.0.1"]),
        ("192.0.2.1", &["192.0.2.1"], &["192.0.2.2"]),
    ] {
        let read: NamePattern = pattern.parse().unwrap();
        for name in covered {
            assert!(read.covers(&identifier(name)), "{pattern} covers {name}");
            assert!(read.touches(&identifier(name)), "{pattern} touches {name}");
        }
        for name in others {
            assert!(!read.covers(&identifier(name)), "{pattern} does not cover {name}");
        }
    }
}

#[test]
fn deny_wins_over_allow_and_over_wildcards_that_are_good_for_a_denied_name() {
    let policy = general(&Keys {
        allow: patterns(&[".a.test", "a.test"]),
        deny: patterns(&["secret.a.test", ".b.a.test"]),
        allow_networks: patterns(&["10.0.0.0/8"]),
        deny_networks: patterns(&["10.1.0.0/16"]),
        ..Keys::default()
    });
    assert_all(
        &policy,
        &[
            ("x.a.test", "yes: allow = \".a.test\" in [policy]"),
            ("a.test", "yes: allow = \"a.test\" in [policy]"),
            ("secret.a.test", "no: deny = \"secret.a.test\" in [policy]"),
            ("*.a.test", "no: deny = \"secret.a.test\" in [policy]"),
            ("*.b.a.test", "no: deny = \".b.a.test\" in [policy]"),
            ("*.c.a.test", "yes: allow = \".a.test\" in [policy]"),
            ("10.2.0.1", "yes: allow_networks = \"10.0.0.0/8\" in [policy]"),
            ("10.1.0.1", "no: deny_networks = \"10.1.0.0/16\" in [policy]"),
            ("c.test", "no: nothing matches in allow in [policy]"),
            ("11.0.0.1", "no: nothing matches in allow_networks in [policy]"),
        ],
    );
}

#[test]
fn a_list_of_names_alone_leaves_addresses_out_and_the_reverse() {
    let names = general(&Keys { allow: patterns(&["*"]), ..Keys::default() });
    assert_all(
        &names,
        &[
            ("a.test", "yes: allow = \"*\" in [policy]"),
            ("10.0.0.1", "no: nothing matches in allow in [policy]"),
        ],
    );
    let addresses = general(&Keys { allow_networks: patterns(&["::/0"]), ..Keys::default() });
    assert_all(
        &addresses,
        &[
            ("::1", "yes: allow_networks = \"::/0\" in [policy]"),
            ("a.test", "no: nothing matches in allow_networks in [policy]"),
        ],
    );
}

#[test]
fn each_key_of_the_ca_replaces_that_of_all() {
    let all = Keys {
        deny: patterns(&[".corp"]),
        wildcards: Some(false),
        max_identifiers: Some(2),
        ..Keys::default()
    };
    let own = Keys { deny: Some(vec![]), single_labels: Some(false), ..Keys::default() };
    let policy = Policy::new(&own, &all);
    assert_all(
        &policy,
        &[
            ("a.corp", "yes: no allow is set"),
            ("*.a.test", "no: wildcards = false in [policy]"),
            ("printer", "no: single_labels = false in [ca.policy]"),
        ],
    );
    let refusal = policy.check_count(3).unwrap_err().to_string();
    assert!(refusal.ends_with("(max_identifiers = 2 in [policy])"), "{refusal}");
}

#[test]
fn the_switches_refuse_what_the_lists_allow() {
    let policy = general(&Keys {
        allow: patterns(&["*", "*.lan", "printer"]),
        allow_networks: patterns(&["0.0.0.0/0"]),
        ip_addresses: Some(false),
        single_labels: Some(false),
        underscores: Some(true),
        ..Keys::default()
    });
    assert_all(
        &policy,
        &[
            ("*.lan", "yes: allow = \"*\" in [policy]"),
            ("*.corp", "no: nothing matches in allow in [policy]"),
            ("printer", "no: single_labels = false in [policy]"),
            ("10.0.0.1", "no: ip_addresses = false in [policy]"),
            ("_sip._tcp.a.test", "yes: allow = \"*\" in [policy]"),
        ],
    );
    assert!(policy.underscores() && !Policy::default().underscores());
}

#[test]
fn the_key_types_of_the_configuration_are_those_of_certificates() {
    use crate::x509::algorithm::ParameterSet as Set;
    let types = [2048, 3072, 4096].map(KeyType::Rsa).into_iter();
    let types = types.chain([KeyType::EcP256, KeyType::EcP384, KeyType::EcP521, KeyType::Ed25519]);
    let types: Vec<_> = types.chain(Set::ALL.map(KeyType::MlDsa)).collect();
    assert_eq!(types.iter().map(|of| key_type_name(*of)).collect::<Vec<_>>(), KEY_TYPES);
    let policy = general(&Keys { key_types: Some(vec!["ec-p256", "rsa-3072"]), ..Keys::default() });
    for key_type in types.into_iter().chain([KeyType::Rsa(2560)]) {
        assert!(Policy::default().check_key(key_type).is_ok());
        let taken = [KeyType::EcP256, KeyType::Rsa(3072)].contains(&key_type);
        assert_eq!(policy.check_key(key_type).is_ok(), taken, "{key_type}");
    }
    let refusal = policy.check_key(KeyType::Ed25519).unwrap_err().to_string();
    assert!(
        refusal.ends_with("(key_types = [\"ec-p256\", \"rsa-3072\"] in [policy])"),
        "{refusal}"
    );
}

fn label() -> impl Strategy<Value = String> {
    "[ab]{1,2}"
}

fn name(labels: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(label(), labels).prop_map(|labels| labels.join("."))
}

proptest! {
    /// To cover a wildcard is to cover every name that it is good for, and to touch it is to cover
    /// one of them.
    #[test]
    fn a_wildcard_is_judged_by_the_names_it_is_good_for(
        kind in prop::sample::select(vec!["", ".", "*."]),
        base in name(1..4),
        below in name(1..4),
        label in label(),
    ) {
        let pattern: NamePattern = format!("{kind}{base}").parse().unwrap();
        let wildcard = identifier(&format!("*.{below}"));
        let one = identifier(&format!("{label}.{below}"));
        if pattern.covers(&wildcard) {
            prop_assert!(pattern.covers(&one));
            prop_assert!(pattern.touches(&wildcard));
        }
        if pattern.covers(&one) {
            prop_assert!(pattern.touches(&wildcard));
            prop_assert!(pattern.touches(&one));
        }
    }

    #[test]
    fn any_text_is_a_pattern_that_is_written_as_it_is_read_or_none(text in "\\PC{0,40}|[a-z0-9.*/:_-]{0,12}") {
        if let Ok(pattern) = text.parse::<NamePattern>() {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }
}

#[test]
fn a_device_is_issued_for_where_a_list_has_it_and_nowhere_else() {
    let device = |value: &str| Identifier::device(value).unwrap();
    let judged = |policy: &Policy, value: &str| policy.judge(&device(value)).is_ok();
    assert!(!judged(&Policy::default(), "A1"));
    let everything = Keys { allow: patterns(&["*"]), ..Keys::default() };
    assert!(!judged(&general(&everything), "A1"), "a list of names says nothing of devices");
    let list = ["A1", "B*"].map(str::to_owned).to_vec();
    let some = Keys { allow_devices: Some(list), ..Keys::default() };
    let policy = general(&some);
    for (value, allowed) in
        [("A1", true), ("A12", false), ("a1", false), ("B", true), ("B7/1.2.3", true), ("C", false)]
    {
        assert_eq!(judged(&policy, value), allowed, "{value}");
    }
    assert!(policy.judge(&identifier("a.test")).is_ok(), "nor the reverse");
}
