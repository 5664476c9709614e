//! Where the PIN comes from, and that nothing shows it.

use secrecy::ExposeSecret as _;
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn pin_file(&self, content: &str, mode: u32) {
        let path = self.folder.path().join("hsm.pin");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// The PIN and what is said, with `lines` in `[hsm]` and the variables `env`.
    fn read(&self, lines: &str, env: &[(&str, &str)]) -> (Option<String>, String) {
        let text = format!("[hsm]\nlibrary = \"token.so\"\ntoken_label = \"t\"\n{lines}\n");
        let lookup = |name: &str| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        match parse(&self.folder.path().join("kipuka.toml"), &text, &lookup, Needs::Token) {
            Ok((config, warnings)) => {
                let shown = format!("{config:?} {warnings:?}");
                let pin = config.hsms[0].pin.as_ref().map(|pin| pin.expose_secret().to_owned());
                if let Some(pin) = &pin {
                    assert!(!shown.contains(pin.as_str()), "{shown}");
                }
                let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
                (pin, said.join("\n"))
            }
            Err(errors) => (None, errors.to_string()),
        }
    }
}

const ALL: &str = "pin_env = \"PIN\"\npin_file = \"hsm.pin\"\npin = \"from-config\"";

#[test]
fn the_environment_comes_before_the_file_and_the_file_before_the_configuration() {
    let case = Case::new();
    case.pin_file("from-file\n", 0o400);
    assert_eq!(case.read(ALL, &[("PIN", "from-env")]).0.as_deref(), Some("from-env"));
    let (pin, said) = case.read(ALL, &[]);
    assert_eq!(pin.as_deref(), Some("from-file"));
    assert!(said.contains("hsm.pin_env: ") && said.contains("pin_file is used"), "{said}");
    let (pin, said) = case.read("pin_env = \"PIN\"\npin = \"from-config\"", &[("PIN", "")]);
    assert_eq!(pin.as_deref(), Some("from-config"));
    assert!(said.contains("so pin is used"), "{said}");
}

#[test]
fn an_unset_variable_without_another_source_is_a_mistake() {
    let (pin, said) = Case::new().read("pin_env = \"PIN\"", &[]);
    assert_eq!(pin, None);
    assert!(said.contains(":4: hsm.pin_env: ") && said.contains("EnvironmentFile="), "{said}");
}

#[test]
fn no_source_at_all_is_no_pin() {
    assert_eq!(Case::new().read("", &[]), (None, String::new()));
}

#[test]
fn a_pin_in_the_configuration_earns_a_warning() {
    let (pin, said) = Case::new().read("pin = \"zq1234\"", &[]);
    assert_eq!(pin.as_deref(), Some("zq1234"));
    assert!(said.contains(":4: hsm.pin: the PIN stands in the configuration file"), "{said}");
}

#[test]
fn one_line_end_behind_the_pin_in_a_file_does_not_count() {
    let case = Case::new();
    for (content, pin) in
        [("1234", "1234"), ("1234\n", "1234"), ("1234\r\n", "1234"), (" 12 34 \n", " 12 34 ")]
    {
        case.pin_file(content, 0o600);
        assert_eq!(case.read("pin_file = \"hsm.pin\"", &[]).0.as_deref(), Some(pin));
    }
}

#[test]
fn a_pin_file_with_no_pin_or_more_than_a_pin_is_refused() {
    let case = Case::new();
    let long = "x".repeat(5000);
    for (content, said) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("12\n34\n", "more than one line"),
        ("1234\n\n", "more than one line"),
        (long.as_str(), "larger than 4 KiB"),
    ] {
        case.pin_file(content, 0o400);
        let (pin, message) = case.read("pin_file = \"hsm.pin\"", &[]);
        assert_eq!(pin, None);
        assert!(message.contains(":4: hsm.pin_file: ") && message.contains(said), "{message}");
    }
}

#[test]
fn a_pin_file_that_the_group_or_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    let case = Case::new();
    for mode in [0o644, 0o640, 0o604, 0o622, 0o777] {
        case.pin_file("zq1234\n", mode);
        let (pin, said) = case.read("pin_file = \"hsm.pin\"", &[]);
        assert_eq!(pin, None, "{mode:o}");
        let chmod = format!("run: chmod 0400 {}/hsm.pin", case.folder.path().display());
        assert!(said.contains(&chmod) && said.contains(":4: hsm.pin_file: "), "{said}");
        assert!(!said.contains("zq1234"), "{said}");
    }
}

#[test]
fn a_credential_from_systemd_may_show_a_right_of_its_group() {
    let case = Case::new();
    let folder = case.folder.path().display().to_string();
    let env = [("CREDENTIALS_DIRECTORY", folder.as_str())];
    case.pin_file("1234", 0o440);
    assert_eq!(case.read("pin_file = \"hsm.pin\"", &env).0.as_deref(), Some("1234"));
    case.pin_file("1234", 0o444);
    assert_eq!(case.read("pin_file = \"hsm.pin\"", &env).0, None);
}

#[test]
fn a_missing_pin_file_is_a_mistake() {
    let (pin, said) = Case::new().read("pin_file = \"hsm.pin\"", &[]);
    assert_eq!(pin, None);
    assert!(said.contains("create the file or correct the path"), "{said}");
}

#[test]
fn a_pin_in_the_wrong_place_is_not_repeated() {
    let case = Case::new();
    for lines in ["pin_env = \"zq-1234\"", "pin_env = \"zq1234\"", "pin = [\"zq1234\"]"] {
        let (pin, said) = case.read(lines, &[]);
        assert_eq!(pin, None);
        assert!(said.contains(":4: hsm.pin") && !said.contains("zq"), "{said}");
    }
    let (_, said) = case.read("pin = 98761234", &[]);
    assert!(said.contains("write it in quotes") && !said.contains("9876"), "{said}");
}
