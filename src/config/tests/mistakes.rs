//! Every mistake at once, each with its line, its key and its remedy.

use super::*;

#[test]
fn all_mistakes_are_reported_together_in_the_order_of_the_file() {
    let text = "[server]
listen = 8443
tls_cret = \"/etc/server.pem\"
[[ca]]
id = \"A\"
name = 7
cert = \"/etc/a.pem\"
hsm_slot = \"3\"
validity_days = 0
key_usage = [
  \"keyCertSign\",
  \"signing\",
]
[[ca]]
[hsm]
library = \"/lib/token.so\"
max_sessions = 0
[validaton]
";
    let (places, message) = wrong(text);
    let places: Vec<(usize, &str)> = places.iter().map(|(line, key)| (*line, &**key)).collect();
    assert_eq!(
        places,
        [
            (2, "server.listen"),
            (3, "server.tls_cret"),
            (5, "ca.id"),
            (6, "ca.name"),
            (8, "ca.hsm_slot"),
            (9, "ca.validity_days"),
            (12, "ca.key_usage"),
            (14, "ca.id"),
            (14, "ca.cert"),
            (14, "ca.hsm_slot"),
            (15, "hsm.token_label"),
            (17, "hsm.max_sessions"),
            (18, "validaton"),
        ],
        "{message}"
    );
    assert_eq!(message.lines().count(), places.len());
    for line in message.lines() {
        assert!(line.starts_with("/etc/kipuka/kipuka.toml:"), "{line}");
        assert!(line.split_once("; ").is_some_and(|(_, remedy)| remedy.len() > 10), "{line}");
    }
}

#[test]
fn a_mistake_is_one_line_of_file_line_key_and_remedy() {
    let (_, message) = wrong("\n[server]\nlisten = \"8443\"\n");
    assert_eq!(
        message,
        "/etc/kipuka/kipuka.toml:3: server.listen: `8443` is not understood; write an address and \
         a port: \"0.0.0.0:8443\", \"[::]:8443\""
    );
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let text = |line: &str| format!("[server]\n{line}\n");
    assert_wrong(&text("lisen = \"x\""), 2, "server.lisen", "did you mean `listen`?");
    assert_wrong(&text("hsm_slot = 3"), 2, "server.hsm_slot", "belongs to the section [[ca]]");
    assert_wrong(&text("zebra = 3"), 2, "server.zebra", "known here: listen, tls_cert");
    assert_wrong("listen = \"x\"", 1, "listen", "belongs to the section [server]");
    assert_wrong("[serve]\n", 1, "serve", "did you mean `server`?");
    assert_wrong("[server]\nserver.x.y = 1\n", 2, "server.server", "unknown key");
}

#[test]
fn a_wrong_type_says_what_to_write() {
    let text = |line: &str| format!("[log]\n[server]\n{line}\n");
    assert_wrong(&text("listen = 8443"), 3, "server.listen", "write it in quotes");
    assert_wrong(&text("drain_s = \"3\""), 3, "server.drain_s", "write it without quotes");
    assert_wrong(&text("drain_s = 3.5"), 3, "server.drain_s", "an integer, not a float");
    assert_wrong(&text("drain_s = -3"), 3, "server.drain_s", "from 0 to 3600");
    assert_wrong(&text("listen = \"\""), 3, "server.listen", "is empty");
    assert_wrong(&text("listen = \"a\\nb\""), 3, "server.listen", "control character");
    assert_wrong("[validation]\nresolvers = \"::1\"", 2, "validation.resolvers", "in brackets");
    assert_wrong(
        "[validation]\nresolve_localhost = 1",
        2,
        "validation.resolve_localhost",
        "a boolean, not an integer",
    );
}

#[test]
fn a_section_of_the_wrong_shape_says_how_it_is_written() {
    assert_wrong("server = 3\n", 1, "server", "write [server] on a line of its own");
    assert_wrong("\n[[server]]\n", 2, "server", "write [server]");
    assert_wrong("\n[ca]\nid = \"a\"\n", 2, "ca", "write [[ca]], with two brackets");
    assert_wrong("ca = [1]\n", 1, "ca", "write [[ca]]");
    assert_wrong("hsm = [1]\n", 1, "hsm", "write [[hsm]]");
}

#[test]
fn what_is_not_toml_is_reported_with_line_and_column_and_without_the_line() {
    let errors = read_text("[hsm]\npin = \"zq1234\" zq99\n").unwrap_err();
    let [mistake] = errors.mistakes() else { panic!("{errors}") };
    assert_eq!((mistake.line, mistake.column), (Some(2), Some(16)), "{errors}");
    assert!(errors.to_string().starts_with("/etc/kipuka/kipuka.toml:2:16: not TOML: "), "{errors}");
    assert!(!format!("{errors} {errors:?}").contains("zq"), "{errors}");
}

#[test]
fn a_key_given_twice_is_reported_on_its_second_line() {
    let errors = read_text("[server]\ndrain_s = 1\ndrain_s = 2\n").unwrap_err();
    assert_eq!(errors.mistakes()[0].line, Some(3), "{errors}");
}

#[test]
fn a_file_that_is_too_large_missing_or_not_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load_bytes = |bytes: &[u8]| {
        let path = folder.path().join("kipuka.toml");
        std::fs::write(&path, bytes).unwrap();
        load(&path, &no_env, Needs::Text).map(|_| ()).map_err(|errors| errors.to_string())
    };
    assert_eq!(load_bytes(&vec![b'\n'; 1024 * 1024]), Ok(()));
    let error = load_bytes(&vec![b'\n'; 1024 * 1024 + 1]).unwrap_err();
    assert!(error.contains("larger than 1 MiB"), "{error}");
    let error = load_bytes(b"[log]\n# \xff\n").unwrap_err();
    assert!(error.contains("not UTF-8 on line 2"), "{error}");
    let error = load(Path::new("/gone.toml"), &no_env, Needs::Text).unwrap_err().to_string();
    assert!(error.starts_with("/gone.toml: cannot be read"), "{error}");
    assert!(load(folder.path(), &no_env, Needs::Text).is_err());
}

#[test]
fn a_file_is_read_the_same_with_windows_line_ends_and_a_byte_order_mark() {
    let text = MINIMAL.replace('\n', "\r\n");
    assert_eq!(good(&format!("\u{feff}{text}")).cas[0].id, "a");
    assert_wrong(&format!("{text}x = 1\r\n"), 8, "ca.x", "unknown key");
}

#[test]
fn each_command_asks_only_for_what_it_needs() {
    let path = Path::new("/etc/kipuka/kipuka.toml");
    let said =
        |text, needs| parse(path, text, &no_env, needs).map(|_| ()).map_err(|e| e.to_string());
    assert_eq!(said("", Needs::Text), Ok(()));
    let error = said("", Needs::Token).unwrap_err();
    assert!(error.contains("there is no [hsm] section"), "{error}");
    let error = said("", Needs::Serve).unwrap_err();
    assert!(error.contains("there is no [[ca]] section"), "{error}");
    let hsm = "[hsm]\nlibrary = \"libtoken.so\"\nslot = 0\n";
    assert_eq!(said(hsm, Needs::Token), Ok(()));
    assert!(said(hsm, Needs::Serve).is_err());
}

#[test]
fn each_line_that_is_not_toml_is_reported_once() {
    let errors = read_text("a = [1,\n\n[log]\nlevel = info\n").unwrap_err();
    let lines: Vec<Option<usize>> = errors.mistakes().iter().map(|m| m.line).collect();
    assert_eq!(lines, [Some(3), Some(4)], "{errors}");
}
