//! `[profile.NAME]` and what a `[[ca]]` makes of it.

use std::time::Duration;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn with(profile: &str, ca: &str) -> String {
    format!("{MINIMAL}{ca}\n[profile.short]\n{profile}\n")
}

#[test]
fn a_ca_has_the_profiles_that_it_lists_in_its_order() {
    let text = with(
        "description = \"d\"\nvalidity_hours = 12\nkey_types = [\"ec-p256\"]\n\
         ext_key_usage = [\"clientAuth\"]\nsubject = \"common-name\"\n[profile.Long_1]\nvalidity_days = 2",
        "profiles = [\"Long_1\", \"short\"]",
    );
    let config = good(&text);
    let [long, short] = config.cas[0].profiles.as_slice() else { panic!("two profiles") };
    assert_eq!((long.name.as_str(), long.validity), ("Long_1", Some(48 * HOUR)));
    assert_eq!((&long.description, &long.key_types, long.common_name), (&None, &None, false));
    assert_eq!((short.description.as_deref(), short.validity), (Some("d"), Some(12 * HOUR)));
    assert_eq!(short.key_types.as_deref(), Some(&["ec-p256"][..]));
    let usage = short.ext_key_usage.unwrap();
    assert!(short.common_name && usage.client_auth && !usage.server_auth);
    assert_eq!(good(&with("", "")).cas[0].profiles, [], "a profile alone does nothing");
}

#[test]
fn what_a_profile_may_not_say_is_found_on_its_line() {
    // MINIMAL has seven lines, and one more comes before the section's own.
    for (profile, line, key, said) in [
        ("validity_days = 0", 10, "profile.validity_days", "1 to 36500"),
        ("validity_hours = 876001", 10, "profile.validity_hours", "876000"),
        ("key_types = [\"rsa\"]", 10, "profile.key_types", "rsa-2048"),
        ("key_types = []", 10, "profile.key_types", "no key"),
        ("ext_key_usage = []", 10, "profile.ext_key_usage", "serverAuth"),
        ("ext_key_usage = [\"codeSigning\"]", 10, "profile.ext_key_usage", "clientAuth"),
        ("subject = \"CN=a\"", 10, "profile.subject", "common-name"),
        ("validity = 3", 10, "profile.validity", "unknown key"),
    ] {
        assert_wrong(&with(profile, ""), line, key, said);
    }
    assert_wrong(&with("", "profiles = [\"long\"]"), 8, "ca.profiles", "no [profile.long]");
    assert_wrong(&with("", "profiles = [\"short\", \"short\"]"), 8, "ca.profiles", "twice");
    assert_wrong(&format!("profile = 1\n{MINIMAL}"), 1, "profile", "has no name");
    assert_wrong(&format!("{MINIMAL}[profile.\"a b\"]\n"), 8, "profile", "no name for a profile");
    assert_wrong(&format!("{MINIMAL}[profile]\nvalidity_days = 3\n"), 9, "profile", "section");
}
