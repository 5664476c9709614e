//! `[[ca]]`.

use super::*;

fn with_ca(lines: &str) -> String {
    format!("[hsm]\nlibrary = \"t.so\"\nslot = 0\n[[ca]]\nid = \"a\"\ncert = \"a.pem\"\n{lines}\n")
}

/// In the one token that there is.
fn in_token(cka_id: &[u8]) -> CaKey {
    CaKey::Hsm {
        cka_id: cka_id.to_vec(),
        tokens: vec!["hsm".to_owned()],
        sharing: Sharing::InOrder,
    }
}

#[test]
fn defaults_are_filled_in() {
    let ca = &good(MINIMAL).cas[0];
    assert_eq!((&*ca.name, ca.validity_days, ca.client_auth), ("a", 90, false));
    assert_eq!((&ca.digest, &ca.terms_of_service, &ca.website), (&None, &None, &None));
    assert_eq!(ca.rsa_padding, RsaPadding::Pkcs1);
    assert!(ca.key_usage.is_empty() && ca.caa_identities.is_empty());
}

#[test]
fn every_key_is_taken() {
    let config = good(&with_ca(
        "name = \"A CA\"
hsm_slot = 256
validity_days = 7
key_usage = [\"cRLSign\", \"keyCertSign\", \"contentCommitment\", \"cRLSign\"]
client_auth = true
digest = \"sha384\"
rsa_padding = \"pss\"
terms_of_service = \"https://ca.test/terms?v=1\"
website = \"https://ca.test\"
caa_identities = [\"CA.test\", \"other.test\"]",
    ));
    let ca = &config.cas[0];
    assert_eq!(ca.key, in_token(&[1, 0]));
    assert_eq!(
        ca.key_usage,
        [KeyUsage::NonRepudiation, KeyUsage::KeyCertSign, KeyUsage::CrlSign],
        "each once"
    );
    assert_eq!((ca.validity_days, ca.client_auth, ca.digest), (7, true, Some(Digest::Sha384)));
    assert_eq!(ca.rsa_padding, RsaPadding::Pss);
    assert_eq!(ca.terms_of_service.as_deref(), Some("https://ca.test/terms?v=1"));
    assert_eq!(ca.website.as_deref(), Some("https://ca.test"));
    assert_eq!(ca.caa_identities, ["ca.test", "other.test"]);
}

#[test]
fn hsm_slot_is_a_number_or_hex() {
    for (slot, bytes) in [
        ("3", vec![3]),
        ("0", vec![0]),
        ("0x0a1b", vec![10, 27]),
        ("\"0a1b\"", vec![10, 27]),
        ("\"0003\"", vec![0, 3]),
        ("18446744073709551615", vec![255; 8]),
    ] {
        let config = good(&with_ca(&format!("hsm_slot = {slot}")));
        assert_eq!(config.cas[0].key, in_token(&bytes), "{slot}");
    }
    for slot in ["-1", "18446744073709551616", "\"3\"", "\"0x03\"", "\"zz\"", "\"\"", "1.5", "[3]"]
    {
        let (places, _) = wrong(&with_ca(&format!("hsm_slot = {slot}")));
        assert_eq!(places, [(7, "ca.hsm_slot".to_owned())], "{slot}");
    }
}

#[test]
fn a_key_file_beside_hsm_slot_is_ignored_with_a_warning() {
    let text = with_ca("hsm_slot = 3\nkey = \"/gone.pem\"");
    let (config, warnings) = read_text(&text).unwrap();
    assert_eq!(config.cas[0].key, in_token(&[3]));
    let said = warnings[0].to_string();
    assert!(said.contains(":8: ca.key: is ignored"), "{said}");
}

#[test]
fn a_ca_needs_a_key_and_hsm_slot_needs_a_token() {
    assert_wrong(&with_ca(""), 4, "ca.hsm_slot", "neither hsm_slot nor key is set");
    let text = "[[ca]]\nid = \"a\"\ncert = \"a.pem\"\nhsm_slot = 3\n";
    assert_wrong(text, 4, "ca.hsm_slot", "add [hsm]");
    let text = "[[ca]]\nid = \"a\"\ncert = \"a.pem\"\nkey = \"a-key.pem\"\n";
    assert_eq!(good(text).cas[0].key, CaKey::File("/etc/kipuka/a-key.pem".into()));
}

#[test]
fn two_cas_of_one_id_are_refused_on_the_second() {
    let ca = "[[ca]]\nid = \"a\"\ncert = \"a.pem\"\nkey = \"k.pem\"\n";
    assert_wrong(&format!("{ca}{ca}"), 6, "ca.id", "the [[ca]] on line 1 is called `a` too");
}

#[test]
fn an_id_that_cannot_stand_in_a_url_is_refused() {
    let long = "a".repeat(65);
    for id in ["A", "a_b", "a/b", "a b", "ä", ".", long.as_str()] {
        let text = MINIMAL.replace("id = \"a\"", &format!("id = \"{id}\""));
        assert_wrong(&text, 5, "ca.id", "a to z, 0 to 9 and -");
    }
}

#[test]
fn wrong_values_are_refused() {
    for (line, key, said) in [
        ("validity_days = 0", "validity_days", "from 1 to 36500"),
        ("key_usage = [\"serverAuth\"]", "key_usage", "digitalSignature, nonRepudiation"),
        ("key_usage = \"cRLSign\"", "key_usage", "in brackets"),
        ("digest = \"sha1\"", "digest", "sha256"),
        ("rsa_padding = \"oaep\"", "rsa_padding", "\"pkcs1\" or \"pss\""),
        ("website = \"ca.test\"", "website", "whole URL"),
        ("terms_of_service = \"ftp://ca.test/\"", "terms_of_service", "not a web page"),
        ("caa_identities = [\"https://ca.test\"]", "caa_identities", "not a domain name"),
        ("caa = \"on\"", "caa", "\"off\", \"report\" or \"enforce\""),
        ("caa = \"enforce\"", "caa", "caa_identities is not set"),
        ("challenges = [\"http-02\"]", "challenges", "http-01, dns-01, tls-alpn-01"),
        ("challenges = []", "challenges", "offers nothing"),
        ("challenges = [\"dns-persist-01\"]", "challenges", "needs caa_identities"),
        ("challenges = [\"device-attest-01\"]", "challenges", "needs attestation_roots"),
        ("client_auth = \"yes\"", "client_auth", "without quotes"),
    ] {
        assert_wrong(&with_ca(&format!("hsm_slot = 3\n{line}")), 8, &format!("ca.{key}"), said);
    }
}

/// Two tokens, and one CA with these lines.
fn with_tokens(lines: &str) -> String {
    let token = |name| format!("[[hsm]]\nname = \"{name}\"\nlibrary = \"t.so\"\nslot = 0\n");
    let ca = "[[ca]]\nid = \"a\"\ncert = \"a.pem\"\nhsm_slot = 3\n";
    format!("{}{}{ca}{lines}\n", token("east"), token("west"))
}

#[test]
fn a_ca_names_the_tokens_that_hold_its_key() {
    for (lines, expected, how) in [
        ("hsm = \"west\"", &["west"][..], Sharing::InOrder),
        ("hsm = [\"west\", \"east\"]", &["west", "east"], Sharing::InOrder),
        (
            "hsm = [\"east\", \"west\"]\nhsm_sharing = \"by-load\"",
            &["east", "west"],
            Sharing::ByLoad,
        ),
    ] {
        let config = good(&with_tokens(lines));
        let expected: Vec<_> = expected.iter().map(|name| (*name).to_owned()).collect();
        let names: Vec<_> = config.hsms.iter().map(|hsm| hsm.name.as_str()).collect();
        assert_eq!(names, ["east", "west"]);
        let CaKey::Hsm { tokens, sharing, .. } = &config.cas[0].key else { panic!("{config:?}") };
        assert_eq!((&tokens[..], *sharing), (&expected[..], how));
    }
    for (lines, line, key, said) in [
        ("", 9, "ca.hsm", "east, west"),
        ("hsm = \"north\"", 13, "ca.hsm", "`north`"),
        ("hsm = [\"east\", \"east\"]", 13, "ca.hsm", "twice"),
        ("hsm = []", 13, "ca.hsm", "names no token"),
        ("hsm = \"east\"\nhsm_sharing = \"any\"", 14, "ca.hsm_sharing", "\"by-load\""),
    ] {
        let (places, message) = wrong(&with_tokens(lines));
        assert!(places.contains(&(line, key.to_owned())), "{message}");
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_crl_lives_for_a_week_unless_set_and_alternate_chains_start_at_the_file_s_folder() {
    let ca =
        |lines: &str| format!("[[ca]]\nid = \"a\"\ncert = \"a.pem\"\nkey = \"k.pem\"\n{lines}\n");
    let read = |lines: &str| good(&ca(lines)).cas.remove(0);
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    assert_eq!(read("").crl_validity, hours(168));
    assert_eq!(read("crl_validity_hours = 1").crl_validity, hours(1));
    for wrong in ["0", "8785", "-1"] {
        assert_wrong(
            &ca(&format!("crl_validity_hours = {wrong}")),
            5,
            "ca.crl_validity_hours",
            "out of range",
        );
    }
    assert!(read("").alternate_chains.is_empty());
    let chains = read("alternate_chains = [\"b.pem\", \"/c.pem\"]").alternate_chains;
    assert_eq!(chains, [Path::new("/etc/kipuka/b.pem"), Path::new("/c.pem")]);
    assert_wrong(&ca("alternate_chains = \"b.pem\""), 5, "ca.alternate_chains", "wants an array");
}

#[test]
fn challenges_and_caa_are_chosen_for_each_ca() {
    let ca = &good(MINIMAL).cas[0];
    assert_eq!(
        (ca.caa, &ca.challenges[..]),
        (CaaMode::Off, &["http-01", "dns-01", "tls-alpn-01"][..])
    );
    let ca = &good(&with_ca(
        "hsm_slot = 1\ncaa_identities = [\"CA.test\"]\ncaa = \"enforce\"\n\
         challenges = [\"dns-persist-01\", \"dns-01\", \"dns-account-01\", \"dns-01\"]",
    ))
    .cas[0];
    assert_eq!(ca.caa, CaaMode::Enforce);
    assert_eq!(ca.challenges, ["dns-persist-01", "dns-01", "dns-account-01"], "each once");
    assert_eq!(good(&with_ca("hsm_slot = 1\ncaa = \"report\"")).cas[0].caa, CaaMode::Report);
    let names: Vec<_> = (0..11).map(|number| format!("\"ca-{number}.test\"")).collect();
    let lines = format!(
        "hsm_slot = 1\ncaa_identities = [{}]\nchallenges = [\"dns-persist-01\"]",
        names.join(", ")
    );
    assert_wrong(&with_ca(&lines), 9, "ca.challenges", "at most 10");
}
