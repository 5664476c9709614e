//! The PIN from the terminal.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Ceremony;
use crate::BINARY;

/// A ceremony whose configuration names no source of the PIN.
fn without_pin() -> Ceremony {
    let ceremony = Ceremony::new();
    let config = ceremony.read("kipuka.toml").replace("pin_env = \"KIPUKA_HSM_PIN\"\n", "");
    fs::write(ceremony.path("kipuka.toml"), config).unwrap();
    ceremony
}

/// Runs a command on a terminal of its own, and types when it asks for the PIN. Returns the exit code
/// and all that the terminal showed.
fn on_a_terminal(ceremony: &Ceremony, line: &str, typed: &str) -> (i32, String) {
    let config = ceremony.path("kipuka.toml");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command"]);
    command.arg(format!("{BINARY} --config {} {line}", config.display())).arg("/dev/null");
    command.current_dir(ceremony.folder.path()).env_remove("KIPUKA_HSM_PIN");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("script is in Debian's bsdutils");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&shown).contains("PIN of the token") {
        if stdout.read(&mut byte).unwrap() == 0 {
            break;
        }
        shown.push(byte[0]);
    }
    // Between the prompt and the end of the echo; nobody types as fast as a test.
    std::thread::sleep(Duration::from_millis(300));
    // It may have ended without asking.
    let _ = stdin.write_all(format!("{typed}\n").as_bytes());
    stdout.read_to_end(&mut shown).unwrap();
    drop(stdin);
    (child.wait().unwrap().code().unwrap(), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn a_pin_that_is_not_configured_is_asked_for_without_echo() {
    let ceremony = without_pin();
    let keygen = "hsm keygen --id 07 --type ec-p256 --label root";
    let (code, shown) = on_a_terminal(&ceremony, keygen, "1234");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("PIN of the token \"kipuka\" in slot 0x"), "{shown}");
    let after = shown.split_once("PIN of the token").unwrap().1;
    assert!(after.contains("key \"root\" made"), "{shown}");
    let typed = after.split_once(": ").unwrap().1;
    assert!(!typed.contains("1234"), "nothing of it is shown: {shown}");

    // In a ceremony, and in `check`, too.
    let root = "ca create-root --id 07 --subject CN=Root --days 3650 --out root.pem";
    let (code, shown) = on_a_terminal(&ceremony, root, "1234");
    assert_eq!(code, 0, "{shown}");
    ceremony.configure("\n[[ca]]\nid = \"root\"\ncert = \"root.pem\"\nhsm_slot = 7\n");
    let (_, shown) = on_a_terminal(&ceremony, "check", "1234");
    assert!(shown.contains("test signature verified"), "{shown}");
}

#[test]
fn a_typed_pin_is_tried_once_and_an_empty_one_never() {
    let ceremony = without_pin();
    let (code, shown) = on_a_terminal(&ceremony, "hsm keys", "9999");
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("refused the PIN") && !shown.contains("9999"), "{shown}");
    assert_eq!(shown.matches("PIN of the token").count(), 1, "{shown}");
    let (code, shown) = on_a_terminal(&ceremony, "hsm keys", "");
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("no PIN was typed"), "{shown}");
}

#[test]
fn nobody_is_asked_without_a_terminal_or_by_a_server() {
    let ceremony = without_pin();
    let mut command = ceremony.command("hsm keys");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = harness::command::text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("asks for a PIN: set pin_env or pin_file"), "{said}");

    on_a_terminal(&ceremony, "hsm keygen --id 07 --type ec-p256 --label root", "1234");
    let root = "ca create-root --id 07 --subject CN=Root --days 3650 --out root.pem";
    on_a_terminal(&ceremony, root, "1234");
    ceremony.configure("\n[[ca]]\nid = \"root\"\ncert = \"root.pem\"\nhsm_slot = 7\n");
    let (code, shown) = on_a_terminal(&ceremony, "serve", "1234");
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("asks for a PIN") && !shown.contains("PIN of the token"), "{shown}");
}
