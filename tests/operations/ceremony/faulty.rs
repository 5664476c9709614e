//! What is asked of the token, call by call, and what becomes of a ceremony when it fails.

use std::time::{Duration, Instant};

use harness::Token;

use super::Ceremony;

const ROOT: &str = "ca create-root --id 07 --subject CN=Root --days 30 --out root.pem";

fn ceremony() -> Ceremony {
    let ceremony = Ceremony::with(Token::faulty());
    ceremony.run("hsm keygen --id 07 --type ec-p256 --label root");
    ceremony.run("hsm keygen --id 08 --type ec-p256 --label other");
    ceremony
}

#[test]
fn a_key_that_was_made_before_the_token_failed_is_told_of_in_the_transcript() {
    let ceremony = ceremony();
    let made = ROOT.replace("--id 07", "--id 0a") + " --generate ec-p256 --label new";
    ceremony.token.suffer(&["fail C_Sign CKR_DEVICE_ERROR always"]);
    let (code, said) = ceremony.try_run(&made);
    assert_eq!(code, 1, "{said}");
    assert!(!ceremony.path("root.pem").exists());
    let transcript = ceremony.read("root.pem.transcript.txt");
    for part in
        ["Key (made now, as ec-p256)", "CKA_NEVER_EXTRACTABLE", "NOT DONE", "CKR_DEVICE_ERROR"]
    {
        assert!(transcript.contains(part), "{part}: {transcript}");
    }
    // The next attempt does not replace it.
    ceremony.token.suffer(&[]);
    ceremony.refused(&ROOT.replace("--id 07", "--id 0a"), 1, "root.pem.transcript.txt");
    ceremony.run(&(ROOT.replace("--id 07", "--id 0a") + " --transcript second.txt"));
}

#[test]
fn a_ceremony_is_finished_though_nobody_reads_what_it_says() {
    let ceremony = ceremony();
    let config = ceremony.path("kipuka.toml");
    let script = format!(
        "export KIPUKA_HSM_PIN={}; {} --config {} {ROOT} | true; exit ${{PIPESTATUS[0]}}",
        ceremony.pin,
        crate::BINARY,
        config.display()
    );
    ceremony.shell(&script);
    assert!(ceremony.path("root.pem").exists());
    assert!(ceremony.read("root.pem.transcript.txt").contains("Files written"));
}

/// Nobody is there to press Ctrl-C in a script.
#[test]
fn a_token_that_does_not_answer_is_not_waited_for_without_end() {
    let ceremony = ceremony();
    ceremony.token.suffer(&["hang C_Sign 600000"]);
    let begun = Instant::now();
    ceremony.refused(ROOT, 1, "did not answer within 30 s");
    assert!(begun.elapsed() < Duration::from_secs(60));
    ceremony.token.suffer(&[]);
    ceremony.run(ROOT);
}

/// How often a function was called by the last command.
fn calls(ceremony: &Ceremony, function: &str) -> u64 {
    ceremony.token.counters_of_the_last().get(function).copied().unwrap_or_default()
}

#[test]
fn a_dry_run_signs_and_makes_nothing_and_a_certificate_costs_two_signatures() {
    let ceremony = ceremony();
    ceremony.run(&format!("{ROOT} --dry-run"));
    assert_eq!((calls(&ceremony, "C_Sign"), calls(&ceremony, "C_SignInit")), (0, 0));
    let made = ROOT.replace("--id 07", "--id 09") + " --generate ec-p256 --label new --dry-run";
    ceremony.run(&made);
    assert_eq!((calls(&ceremony, "C_Sign"), calls(&ceremony, "C_GenerateKeyPair")), (0, 0));
    assert!(calls(&ceremony, "C_FindObjects") > 0, "the token was asked what it has");
    ceremony.run(ROOT);
    assert_eq!(calls(&ceremony, "C_Sign"), 2, "a test signature, and the certificate");
}

#[test]
fn nothing_is_written_where_the_token_does_not_sign_what_it_should() {
    let ceremony = ceremony();
    for (fault, sentence) in [
        ("wrong-signature always", "they do not belong together"),
        ("swap-keys always", "they do not belong together"),
        ("fail C_Sign CKR_DEVICE_ERROR always", "CKR_DEVICE_ERROR"),
        ("fail C_FindObjects CKR_GENERAL_ERROR always", "CKR_GENERAL_ERROR"),
        ("vanish kipuka", "no token has the label \"kipuka\""),
    ] {
        ceremony.token.suffer(&[fault]);
        ceremony.refused(ROOT, 1, sentence);
    }
    ceremony.token.suffer(&["refuse-login CKR_PIN_LOCKED"]);
    ceremony.refused(ROOT, 2, "CKR_PIN_LOCKED");
    ceremony.token.suffer(&[]);
    ceremony.run(ROOT);
}
