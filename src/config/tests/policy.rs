//! `[policy]` and `[ca.policy]`.

use super::*;

const CA: &str =
    "[hsm]\nlibrary = \"t.so\"\nslot = 0\n[[ca]]\nid = \"a\"\ncert = \"a.pem\"\nhsm_slot = 3\n";

fn patterns(texts: &[&str]) -> Option<Vec<NamePattern>> {
    Some(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[test]
fn every_key_is_taken_in_both_sections() {
    let keys = "allow = [\"A.test\", \".b.test.\", \"*.c.test\", \"*\"]
deny = [\"_x.d.test\"]
allow_networks = [\"10.0.0.0/8\", \"2001:db8::1\"]
deny_networks = []
allow_devices = [\"C02XG1234\", \"F4*\"]
wildcards = false
ip_addresses = true
single_labels = false
underscores = true
max_identifiers = 7
key_types = [\"ec-p256\", \"ml-dsa-65\"]";
    let config = good(&format!("{CA}[ca.policy]\n{keys}\n[policy]\n{keys}\n"));
    let ca = &config.cas[0];
    assert_eq!(ca.policy, ca.general_policy);
    let expected = Policy {
        allow: patterns(&["a.test", ".b.test", "*.c.test", "*"]),
        deny: patterns(&["_x.d.test"]),
        allow_networks: patterns(&["10.0.0.0/8", "2001:db8::1/128"]),
        deny_networks: Some(vec![]),
        allow_devices: Some(vec!["C02XG1234".to_owned(), "F4*".to_owned()]),
        wildcards: Some(false),
        ip_addresses: Some(true),
        single_labels: Some(false),
        underscores: Some(true),
        max_identifiers: Some(7),
        key_types: Some(vec!["ec-p256", "ml-dsa-65"]),
    };
    assert_eq!(ca.policy, expected);
    assert_eq!(good(CA).cas[0].general_policy, Policy::default());
    assert_eq!(good(CA).cas[0].policy, Policy::default());
}

#[test]
fn each_ca_has_the_section_that_follows_it() {
    let second = CA.split_once("[[ca]]").unwrap().1.replace("\"a\"", "\"b\"");
    let text = format!("{CA}[ca.policy]\nwildcards = false\n[[ca]]{second}");
    let cas = good(&text).cas;
    assert_eq!((cas[0].policy.wildcards, cas[1].policy.wildcards), (Some(false), None));
}

#[test]
fn a_mistake_is_reported_on_its_line_with_its_section() {
    for (line, key, said) in [
        ("allow = []", "allow", "write [\"*\"] to allow every name"),
        ("allow_networks = []", "allow_networks", "would allow nothing"),
        ("allow_devices = []", "allow_devices", "no device is issued for"),
        ("allow_devices = [\"\"]", "allow_devices", "is empty"),
        ("allow_devices = [\"a*b\"]", "allow_devices", "no pattern of devices"),
        ("allow = \".a.test\"", "allow", "in brackets"),
        ("allow = [\"a..test\"]", "allow", "\".example\" for all below it"),
        ("allow = [\"a.*.test\"]", "allow", "`a.*.test` is not a name"),
        ("allow = [\"bücher.test\"]", "allow", "write A-labels"),
        ("deny = [\"https://a.test\"]", "deny", "is not a name"),
        ("deny = [\".\"]", "deny", "is not a name"),
        ("deny = [\"*.\"]", "deny", "is not a name"),
        ("deny = [\"1.2.3\"]", "deny", "ends in a number"),
        ("deny = [\"10.0.0.0/8\"]", "deny", "move it to deny_networks"),
        ("allow = [\"192.0.2.1\"]", "allow", "move it to allow_networks"),
        ("deny_networks = [\".corp\"]", "deny_networks", "is not a network"),
        ("deny_networks = [\"::ffff:10.0.0.0/104\"]", "deny_networks", "mapped to IPv6"),
        ("deny_networks = [\"10.1.2.3/8\"]", "deny_networks", "bits behind its prefix"),
        ("deny_networks = [\"10.0.0.0/33\"]", "deny_networks", "is not a network"),
        ("wildcards = \"no\"", "wildcards", "without quotes"),
        ("max_identifiers = 0", "max_identifiers", "from 1 to 100"),
        ("max_identifiers = 101", "max_identifiers", "from 1 to 100"),
        ("key_types = []", "key_types", "would allow no key"),
        ("key_types = [\"rsa\"]", "key_types", "write some of rsa-2048"),
        ("alow = [\"*\"]", "alow", "did you mean `allow`?"),
    ] {
        assert_wrong(&format!("[policy]\n{line}\n"), 2, &format!("policy.{key}"), said);
        assert_wrong(&format!("{CA}[ca.policy]\n{line}\n"), 9, &format!("ca.policy.{key}"), said);
    }
    let several = format!("{CA}[ca.policy]\ndeny = [\n  \".corp\",\n  \"a b\",\n]\n");
    assert_wrong(&several, 11, "ca.policy.deny", "`a b` is not a name");
    assert_wrong(&format!("{CA}policy = 3\n"), 8, "ca.policy", "write [ca.policy] on a line");
}

#[test]
fn patterns_are_written_as_they_are_read() {
    for text in
        ["*", "a.test", ".a.test", "*.a.test", ".corp", "192.0.2.1", "10.0.0.0/8", "fd00::/8"]
    {
        assert_eq!(text.parse::<NamePattern>().unwrap().to_string(), text);
    }
}
