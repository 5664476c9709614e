//! The files that the configuration names.

use std::os::unix::fs::PermissionsExt;

use super::*;

const TEXT: &str = "[server]
tls_cert = \"server.pem\"
tls_key = \"server-key.pem\"
[[ca]]
id = \"a\"
cert = \"ca.pem\"
key = \"ca-key.pem\"
";

const NAMES: [&str; 4] = ["server.pem", "server-key.pem", "ca.pem", "ca-key.pem"];

/// What `serve` says of [`TEXT`] where its files have these modes; 0 is a file that is not there.
fn served(modes: [u32; 4]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kipuka.toml");
    std::fs::write(&config, TEXT).unwrap();
    for (name, mode) in NAMES.iter().zip(modes).filter(|(_, mode)| *mode != 0) {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let loaded = load(&config, &no_env, Needs::Serve);
    loaded.map(|(config, _)| config).map_err(|errors| errors.to_string())
}

#[test]
fn a_relative_path_starts_at_the_folder_of_the_configuration() {
    let config = served([0o644, 0o600, 0o644, 0o400]).unwrap();
    let folder = config.file.parent().unwrap();
    assert_eq!(config.cas[0].cert, folder.join("ca.pem"));
    assert_eq!(config.cas[0].key, CaKey::File(folder.join("ca-key.pem")));
    assert_eq!(config.server.tls.unwrap().key, folder.join("server-key.pem"));
    let database = config.database.describe();
    assert_eq!(database, format!("SQLite {}", folder.join("kipuka.db").display()));
}

#[test]
fn every_missing_file_is_reported_where_serve_needs_it() {
    let said = served([0; 4]).unwrap_err();
    assert_eq!(said.lines().count(), 4, "{said}");
    for (line, name) in [(2, NAMES[0]), (3, NAMES[1]), (6, NAMES[2]), (7, NAMES[3])] {
        assert!(said.contains(&format!("kipuka.toml:{line}: ")) && said.contains(name), "{said}");
    }
    assert!(good(TEXT).server.tls.is_some(), "other commands do not look");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    let said = served([0o644, 0o644, 0o644, 0o644]).unwrap_err();
    assert_eq!(said.lines().count(), 2, "{said}");
    let mut lines = said.lines();
    assert!(lines.next().unwrap().contains("chmod 0440 /"), "{said}");
    let ca = lines.next().unwrap();
    assert!(ca.contains(":7: ca.key: ") && ca.contains("chmod 0400 /"), "{said}");
}

#[test]
fn the_group_may_read_the_tls_key_and_not_the_key_of_a_ca() {
    assert!(served([0o644, 0o640, 0o644, 0o600]).is_ok());
    assert!(served([0o644, 0o640, 0o644, 0o640]).is_err());
}

#[test]
fn a_library_that_is_not_there_is_reported_to_all_who_open_the_token() {
    let text = "[hsm]\nlibrary = \"/gone/token.so\"\nslot = 0\n";
    let path = Path::new("/etc/kipuka/kipuka.toml");
    let error = parse(path, text, &no_env, Needs::Token).unwrap_err().to_string();
    assert!(error.contains(":2: hsm.library: ") && error.contains("/gone/token.so"), "{error}");
    assert!(parse(path, text, &no_env, Needs::Text).is_ok());
}

#[test]
fn a_database_password_in_a_file_for_all_earns_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kipuka.toml");
    let text = format!("[database]\nurl = \"postgres://k:zq99@db/k\"\n{MINIMAL}")
        .replace("/lib/token.so", "token.so");
    std::fs::write(&path, text).unwrap();
    let warnings = |mode| {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        load(&path, &no_env, Needs::Token).unwrap().1
    };
    assert_eq!(warnings(0o600), []);
    let said = warnings(0o644)[0].to_string();
    assert!(said.contains(":2: database.url: ") && !said.contains("zq99"), "{said}");
}
