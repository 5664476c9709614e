//! The examples in config/.

use toml::de::DeValue;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn annotated() -> String {
    std::fs::read_to_string(folder().join("kipuka.toml")).unwrap()
}

/// The annotated example with every key that is off switched on.
fn all_on() -> String {
    let switched = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_assignment(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    annotated().lines().map(switched).collect()
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

#[test]
fn each_example_loads() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let loaded = load(&path, &no_env, Needs::Text);
            let (config, warnings) = loaded.unwrap_or_else(|errors| panic!("{errors}"));
            assert!(!config.cas.is_empty(), "{} has a CA", path.display());
            assert_eq!(warnings, []);
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} examples");
}

#[test]
fn the_annotated_example_has_every_key_and_no_other() {
    let text = all_on();
    let (root, errors) = DeTable::parse_recoverable(&text);
    assert!(errors.is_empty(), "{errors:?}");
    for (name, keys) in SECTIONS {
        let table = match root.get_ref()[*name].get_ref() {
            DeValue::Array(items) => items[0].get_ref().as_table().unwrap(),
            DeValue::Table(profiles) if *name == "profile" => {
                profiles.values().next().unwrap().get_ref().as_table().unwrap()
            }
            value => value.as_table().unwrap(),
        };
        for key in *keys {
            assert!(table.contains_key(*key), "config/kipuka.toml lacks {key} in {name}");
        }
    }
    let config = good(&text);
    assert!(config.server.tls.is_some() && config.server.external_url.is_some());
}

#[test]
fn each_key_of_the_annotated_example_has_its_comment() {
    let mut above = "";
    let text = annotated();
    for line in text.lines() {
        if is_assignment(line.strip_prefix("# ").unwrap_or(line)) {
            assert!(above.starts_with("# ") && !is_assignment(&above[2..]), "no comment: {line}");
        }
        above = line;
    }
}

#[test]
fn a_key_that_is_on_in_the_annotated_example_stands_at_its_default() {
    let path = folder().join("kipuka.toml");
    let read = |text: &str| parse(&path, text, &no_env, Needs::Text).unwrap().0;
    let (written, default) = (read(&annotated()), read(MINIMAL));
    assert_eq!(written.server, default.server);
    assert_eq!(written.validation, default.validation);
    assert_eq!(written.log, default.log);
    assert_eq!(written.cas[0].policy, default.cas[0].policy);
    let policy = |config: &Config| {
        let (own, general) = (&config.cas[0].policy, &config.cas[0].general_policy);
        let text = format!("{:?}", crate::policy::Policy::new(own, general));
        text.replace("origin: Policy", "origin: Default")
    };
    assert_eq!(policy(&written), policy(&default));
    assert_eq!(written.database.describe(), default.database.describe());
    assert_eq!(written.database.max_connections, default.database.max_connections);
    assert_eq!(written.cas[0].validity_days, default.cas[0].validity_days);
    assert_eq!(written.cas[0].client_auth, default.cas[0].client_auth);
    let required = |config: &Config| config.cas[0].external_account_required;
    assert_eq!(required(&written), required(&default));
    let subdomains = |config: &Config| config.cas[0].subdomain_authorizations;
    assert_eq!(subdomains(&written), subdomains(&default));
    assert_eq!(written.cas[0].caa, default.cas[0].caa);
    assert_eq!(written.cas[0].challenges, default.cas[0].challenges);
}
