//! Exit codes, and sentences with a remedy.

use std::fs;
use std::process::Command;

use harness::command::text;
use harness::{Ca, Server, Settings};

use crate::BINARY;

#[test]
fn wrong_usage_and_a_missing_or_wrong_configuration_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let kipuka = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(folder.path()).env_remove("KIPUKA_CONFIG");
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    assert_eq!(kipuka(&["nonsense"]).0, Some(2));
    let (code, said) = kipuka(&["--config", "nowhere.toml", "check"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nowhere.toml"), "{said}");

    let file = folder.path().join("kipuka.toml");
    fs::write(&file, "[server]\nlisten = \"nonsense\"\ntypo = 1\n\n[[ca]]\nid = \"UPPER\"\n")
        .unwrap();
    // --config stands before or after the subcommand, or in the environment.
    let file = file.to_string_lossy();
    for arguments in
        [&["--config", &*file, "check"][..], &["check", "--config", &*file], &["check"]]
    {
        let (code, said) = kipuka(arguments);
        assert_eq!(code, Some(2), "{said}");
        for place in ["kipuka.toml:2: server.listen", "kipuka.toml:3: server.typo", "ca.id"] {
            assert!(said.contains(place), "all mistakes at once, {place} too: {said}");
        }
    }
    assert_eq!(kipuka(&["--version"]).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_for_each_thing_whether_it_is_in_order() {
    let settings = Settings {
        cas: vec![
            Ca::Token { id: "one", key_type: "EC:prime256v1", cka_id: 1 },
            Ca::Token { id: "two", key_type: "rsa:2048", cka_id: 2 },
        ],
        ..Settings::default()
    };
    let server = Server::prepare(BINARY, settings).await;
    let output = server.run(&["check"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in ["database", "token of", "CA \"one\"", "CA \"two\"", "test signature", "DNS", "TLS"]
    {
        assert!(
            said.lines().any(|line| line.starts_with("ok ") && line.contains(part)),
            "{part}: {said}"
        );
    }
    assert!(!server.folder.path().join("kipuka.db").exists(), "check changes nothing");
    assert!(!said.contains("1234"), "no PIN is shown: {said}");

    // The certificate of the one with the key of the other: refused, with both key ids.
    let config = fs::read_to_string(server.config()).unwrap();
    let swapped = config
        .replace("hsm_slot = 1\n", "hsm_slot = 9\n")
        .replace("hsm_slot = 2\n", "hsm_slot = 1\n");
    fs::write(server.config(), swapped).unwrap();
    for command in ["check", "serve"] {
        let output = server.run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output);
        if command == "check" {
            assert!(said.contains("2 things are not in order"), "{said}");
            assert!(said.contains("key id "), "which keys differ: {said}");
            assert!(said.contains("id 01") && said.contains("id 02"), "what there is: {said}");
        }
    }
}

/// As `openssl req -new -x509` makes it of a configuration that does not mention it.
#[tokio::test]
async fn check_warns_of_a_ca_certificate_that_does_not_say_what_its_key_is_for() {
    let server = Server::prepare(BINARY, Settings::key_file()).await;
    let config = fs::read_to_string(server.config()).unwrap();
    let value = |name: &str| {
        let start = format!("{name} = ");
        config.lines().find_map(|line| line.strip_prefix(&start)).unwrap().trim_matches('"')
    };
    let check = || {
        let output = server.run(&["check"]);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(!check().contains("key usage"), "{}", check());
    let extensions = server.folder.path().join("openssl.cnf");
    let text = "[req]\ndistinguished_name = n\nx509_extensions = e\n[n]\n[e]\n\
                basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n";
    fs::write(&extensions, text).unwrap();
    let script = format!(
        "openssl req -new -x509 -config {} -key {} -out {} -days 30 -subj /CN=bare",
        extensions.display(),
        value("key"),
        value("cert")
    );
    harness::command::shell(&script, &[]);
    let said = check();
    assert!(said.contains("warning  CA \"ca\": its certificate has no key usage"), "{said}");
}

#[tokio::test]
async fn a_wrong_pin_is_refused_in_words_and_tried_once() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::prepare(BINARY, settings).await;
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(server.config()).arg("serve").env("KIPUKA_HSM_PIN", "9999");
    let output = command.output().unwrap();
    let said = text(&output);
    // Not 1: config/kipuka.service restarts what ends with 1, and a token locks after a few attempts.
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("PIN") && !said.contains("9999"), "{said}");
    let unit = include_str!("../../config/kipuka.service");
    assert!(unit.contains("\nRestartPreventExitStatus=2\n") && !unit.contains("ExecStartPre"));
    command.env_remove("KIPUKA_HSM_PIN");
    let output = command.output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("KIPUKA_HSM_PIN") || said.contains("pin_env"), "{said}");
}

#[tokio::test]
async fn keys_are_made_and_listed_before_there_is_a_ca() {
    let token = harness::SoftToken::new();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kipuka.toml");
    fs::write(&config, token.section()).unwrap();
    let hsm = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .arg("--config")
            .arg(&config)
            .arg("hsm")
            .args(arguments)
            .env("KIPUKA_HSM_PIN", "1234");
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, said) = hsm(&["slots"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("token_label = \"kipuka\""), "{said}");
    let (code, said) = hsm(&["keygen", "--label", "l", "--id", "0a1b", "--type", "ec-p384"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("hsm_slot = \"0a1b\""), "{said}");
    let (code, said) = hsm(&["keygen", "--label", "l", "--id", "0a1b", "--type", "rsa-2048"]);
    assert_eq!(code, Some(1), "an id is taken once: {said}");
    let (_, said) = hsm(&["keys"]);
    assert!(said.contains("id 0a1b label \"l\" (EC private key)"), "{said}");
    assert_eq!(hsm(&["keygen", "--label", "l", "--id", "xyz", "--type", "rsa-2048"]).0, Some(2));
}

#[tokio::test]
async fn the_schema_is_told_and_brought_up_to_date() {
    let server = Server::prepare(BINARY, Settings::key_file()).await;
    let db = |command: &str| {
        let output = server.run(&["db", command]);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(db("status").contains("no schema yet"));
    assert!(db("migrate").contains("up to date"));
    assert!(db("status").contains("up to date"));
}

/// Neither a rate nor its order is promised: machines differ.
#[tokio::test]
async fn hsm_bench_measures_a_key_and_recommends_a_number_of_sessions() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::prepare(BINARY, settings).await;
    let run = server.run(&["hsm", "bench", "--id", "01", "--seconds", "1", "--sessions", "1,2"]);
    let (out, err) =
        (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert!(run.status.success(), "{err}");
    let rates: Vec<f64> = out
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .collect();
    assert!(rates.len() == 2 && rates.iter().all(|rate| *rate > 10.0), "{out}");
    assert!(out.contains("in [hsm] write: max_sessions = "), "{out}");
    let absent = server.run(&["hsm", "bench", "--id", "77"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8(absent.stderr).unwrap().contains("no private key with CKA_ID 77"));
}

#[tokio::test]
async fn of_several_tokens_the_one_that_is_meant_is_named() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        ca: "hsm = \"east\"".to_owned(),
        ..Settings::default()
    };
    let server = Server::prepare(BINARY, settings).await;
    let section = server.token.as_ref().unwrap().section();
    let named = |name| section.replace("[hsm]\n", &format!("[[hsm]]\nname = \"{name}\"\n"));
    let config = fs::read_to_string(server.config()).unwrap();
    let config = config.replace(&section, &(named("east") + &named("west")));
    fs::write(server.config(), config).unwrap();
    let keys = server.run(&["hsm", "keys", "--hsm", "west"]);
    assert!(text(&keys).contains("key-01"), "{}", text(&keys));
    for (arguments, said) in [
        (&["hsm", "keys"][..], "--hsm; there are: east, west"),
        (&["hsm", "keys", "--hsm", "north"], "\"north\"; there are: east, west"),
    ] {
        let output = server.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
}
