//! `kipuka audit`: the trail of a server that issued and revoked, whole and tampered with.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::command::text;
use harness::{Database, Server, Settings};
use openssl::sha::sha256;
use openssl::x509::X509;
use serde_json::Value;

use crate::{BINARY, operate};

/// What a command prints that ends with this code.
fn audit(server: &Server, arguments: &[&str], code: i32) -> String {
    let output = server.run(&[&["audit"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn succeeds(server: &Server, arguments: &[&str]) {
    let output = server.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
}

fn json(server: &Server, arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&audit(server, arguments, code)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serial(certificate: &X509) -> String {
    certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase()
}

/// A server that has issued two certificates and revoked one, and has ended.
async fn history(database: &Database) -> (Server, [X509; 2]) {
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let mut server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let one = client.order(&["a.test"]).await.prove("http-01").await.finalize().await.remove(0);
    let other = client.order(&["b.test"]).await.prove("dns-01").await.finalize().await.remove(0);
    let revoke = ["cert", "revoke", "--serial", &serial(&one), "--reason", "superseded"];
    succeeds(&server, &revoke);
    server.crl("ca", 1).await;
    let (ended, log) = server.terminate();
    assert!(ended && log.contains("audit checkpoint signed"), "{log}");
    (server, [one, other])
}

async fn every_tampering_is_found(database: Database, disarm: &str) {
    let (server, [one, other]) = history(&database).await;
    let ask = |sql: &str| database.ask(sql).unwrap_or_else(|| panic!("{sql}"));
    let whole = json(&server, &["verify", "--json"], 0);
    assert_eq!(
        (&whole["ok"], &whole["pending"], &whole["warnings"]),
        (&true.into(), &0.into(), &0.into())
    );
    // Plans and certificates, of which one is the server's own, a revocation, two CRLs.
    assert!(whole["compared"].as_u64().unwrap() >= 8, "{whole}");
    assert!(whole["checkpoints"].as_u64().unwrap() >= 1, "{whole}");
    assert!(audit(&server, &["verify"], 0).starts_with("ok  "));
    let last = whole["position"].as_i64().unwrap();
    audit(&server, &["verify", "--since", "3"], 0);
    audit(&server, &["verify", "--since", "100000"], 1);

    let issued = json(&server, &["list", "--json", "--kind", "certificate.issued"], 0);
    let issued: Vec<_> = issued.as_array().unwrap().iter().collect();
    let sha256_of = |certificate: &X509| hex(&sha256(&certificate.to_der().unwrap()));
    assert_eq!(issued.len(), 3);
    assert_eq!(issued[1]["details"]["sha256"], sha256_of(&one));
    assert_eq!(issued[2]["details"]["sha256"], sha256_of(&other));
    assert_eq!(issued[2]["details"]["identifiers"], serde_json::json!(["b.test"]));
    let of = |options: &[&str]| audit(&server, &[&["list"], options].concat(), 0);
    let about = of(&["--serial", &serial(&one)]);
    for kind in ["certificate.planned", "certificate.issued", "certificate.revoked"] {
        assert!(about.contains(kind), "{kind}: {about}");
    }
    assert!(about.contains("by operator ") && about.contains("superseded"), "{about}");
    let order = issued[1]["details"]["order"].as_str().unwrap();
    assert!(of(&["--order", order]).contains("order.created"));
    let account = issued[1]["details"]["account"].as_str().unwrap();
    let evidence = of(&["--account", account, "--kind", "authorization"]);
    assert!(evidence.contains("127.0.0.1") && evidence.contains("dns-01"), "{evidence}");
    assert!(of(&["--account", account]).contains("account.created"));
    assert_eq!(of(&["--since", "2100-01-01"]), "");
    assert_eq!(of(&["--since", "2020-01-01", "--limit", "2"]).lines().count(), 2);

    // The database refuses whoever does not disarm it first.
    for sql in
        ["DELETE FROM audit_log", "UPDATE audit_log SET hash = ''", "DELETE FROM audit_checkpoints"]
    {
        assert_eq!(database.ask(sql), None, "{sql}");
    }
    let outside = server.folder.path().join("outside.json");
    let checkpoint = audit(&server, &["checkpoint"], 0);
    std::fs::write(&outside, &checkpoint).unwrap();
    ask(disarm);
    ask("CREATE TABLE saved_log AS SELECT * FROM audit_log; \
         CREATE TABLE saved_checkpoints AS SELECT * FROM audit_checkpoints; \
         CREATE TABLE saved_certificates AS SELECT * FROM certificates; \
         CREATE TABLE saved_revocations AS SELECT * FROM revocations; \
         CREATE TABLE saved_head AS SELECT * FROM audit_head");
    let restore = "DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM saved_log; \
                   DELETE FROM audit_checkpoints; \
                   INSERT INTO audit_checkpoints SELECT * FROM saved_checkpoints; \
                   DELETE FROM revocations; \
                   INSERT INTO revocations SELECT * FROM saved_revocations; \
                   UPDATE certificates SET audited = (SELECT s.audited FROM saved_certificates s \
                   WHERE s.id = certificates.id), certificate = (SELECT s.certificate \
                   FROM saved_certificates s WHERE s.id = certificates.id); \
                   DELETE FROM audit_head; INSERT INTO audit_head SELECT * FROM saved_head";
    let cut = format!("DELETE FROM audit_log WHERE position = {last}");
    let unnoted = format!(
        "{cut}; UPDATE audit_head SET position = position - 1, \
         hash = (SELECT hash FROM audit_log WHERE position = {})",
        last - 1
    );
    let own = "WHERE account_id IS NULL";
    let swap = "UPDATE audit_log SET position = -1 WHERE position = 3; \
                UPDATE audit_log SET position = 3 WHERE position = 4; \
                UPDATE audit_log SET position = 4 WHERE position = -1";
    for (sql, found) in [
        ("UPDATE audit_log SET entry = entry || ' ' WHERE position = 3", "entry 3 does not fit"),
        ("UPDATE audit_log SET id = id || '0' WHERE position = 3", "entry 3 does not fit"),
        ("UPDATE audit_log SET hash = '00' WHERE position = 3", "entry 3 does not fit"),
        ("DELETE FROM audit_log WHERE position = 3", "entry 3 is missing"),
        ("DELETE FROM audit_log WHERE position < 4", "entries 1 to 3 are missing"),
        (swap, "entry 3 does not fit"),
        (&cut, "the last ones were deleted"),
        (&unnoted, "and there is no such entry"),
        (
            "INSERT INTO audit_log SELECT position + 1, 'new', entry, hash FROM audit_log \
          ORDER BY position DESC LIMIT 1",
            "were put there",
        ),
        ("UPDATE audit_checkpoints SET statement = statement || ' '", "is no good"),
        ("UPDATE audit_checkpoints SET algorithm = 'RSA with SHA-256'", "is no good"),
        ("DELETE FROM revocations", "not in its table"),
        ("UPDATE revocations SET reason = 1", "the row was altered"),
        (&format!("UPDATE certificates SET certificate = tbs {own}"), "the row was altered"),
        (&format!("UPDATE certificates SET audited = 1 {own}"), "the row was altered"),
        (
            "INSERT INTO certificates (id, ca, issuer_id, serial, tbs, planned_at, certificate, \
          issued_at, audited) SELECT 'new', ca, issuer_id, '01', tbs, planned_at, certificate, \
          issued_at, 3 FROM certificates WHERE account_id IS NULL",
            "the trail has no entry of it",
        ),
    ] {
        ask(sql);
        let said = audit(&server, &["verify"], 1);
        assert!(said.contains(found), "{sql}: {said}");
        ask("DELETE FROM certificates WHERE id = 'new'");
        ask(restore);
    }
    audit(&server, &["verify"], 0);

    // Whoever can write to the database can cut the end with all that tells of it there; what was kept
    // elsewhere tells all the same.
    ask(&unnoted);
    ask(&format!("DELETE FROM audit_checkpoints WHERE position = {last}"));
    let said = audit(&server, &["verify"], 0);
    assert!(said.contains("warning  there is no checkpoint"), "{said}");
    let outside = outside.to_str().unwrap();
    let said = audit(&server, &["verify", "--checkpoint", outside], 1);
    assert!(said.contains("no such entry"), "{said}");
    ask(restore);
    audit(&server, &["verify", "--checkpoint", outside], 0);
    let forged = checkpoint.replace("position\": ", "position\": 1");
    std::fs::write(server.folder.path().join("forged.json"), forged).unwrap();
    let forged = server.folder.path().join("forged.json");
    audit(&server, &["verify", "--checkpoint", forged.to_str().unwrap()], 1);

    // A release without the trail wrote this; that is no alarm.
    ask(
        "INSERT INTO certificates (id, ca, issuer_id, serial, tbs, planned_at, certificate, issued_at) \
         SELECT 'old', ca, issuer_id, '02', tbs, planned_at, certificate, issued_at \
         FROM certificates WHERE account_id IS NULL",
    );
    let said = audit(&server, &["verify"], 0);
    assert!(said.contains("warning  1 certificates were issued from "), "{said}");
    audit(&server, &["verify", "--strict"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_with_the_audit_trail_is_found_on_sqlite() {
    let triggers = [
        "log_is_not_changed",
        "log_is_not_deleted",
        "checkpoints_are_not_changed",
        "checkpoints_are_not_deleted",
    ];
    let disarm = triggers.map(|name| format!("DROP TRIGGER audit_{name};")).concat();
    every_tampering_is_found(Database::sqlite(), &disarm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_with_the_audit_trail_is_found_on_postgres() {
    let disarm = "ALTER TABLE audit_log DISABLE TRIGGER USER; \
                  ALTER TABLE audit_checkpoints DISABLE TRIGGER USER";
    every_tampering_is_found(Database::postgres(), disarm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_its_page_work() {
    let database = Database::sqlite();
    let (server, _) = history(&database).await;
    let folder = server.folder.path();
    let commands = operate::tested_commands("audit.md");
    for command in ["verify", "checkpoint", "list"] {
        assert!(commands.contains(command), "{command}: {commands}");
    }
    let config = server.config().display().to_string();
    let script = format!("cd {}\n{commands}", folder.display());
    let path = operate::path(folder);
    let said = harness::command::shell(&script, &[("PATH", &path), ("KIPUKA_CONFIG", &config)]);
    assert!(said.contains("certificate.revoked") && said.contains("\"ok\": true"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_by_a_strangers_key_is_wrong_unless_the_caller_vouches_for_it() {
    let databases = [Database::sqlite(), Database::sqlite()];
    let (server, _) = history(&databases[0]).await;
    let (stranger, _) = history(&databases[1]).await;
    audit(&stranger, &["checkpoint", "--out", stranger.folder.path().to_str().unwrap()], 0);
    let file = stranger.folder.path().join("checkpoint.json");
    std::fs::write(&file, audit(&stranger, &["checkpoint"], 0)).unwrap();
    let file = file.to_str().unwrap();
    let said = audit(&server, &["verify", "--checkpoint", file], 1);
    assert!(said.contains("no configured CA's"), "{said}");
    let certificate = stranger.folder.path().join("certificate.pem");
    let certificate = certificate.to_str().unwrap();
    let vouched = ["verify", "--checkpoint", file, "--ca-certificate", certificate];
    let said = audit(&server, &vouched, 1);
    assert!(!said.contains("no configured CA's") && said.contains("signs entry"), "{said}");
}

/// Other commands of docs/operate/audit.md.
#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_checks_a_checkpoint_and_a_hash_without_kipuka() {
    let database = Database::sqlite();
    let (server, _) = history(&database).await;
    let folder = server.folder.path();
    audit(&server, &["checkpoint", "--out", folder.to_str().unwrap()], 0);
    let shell = |script: &str| {
        let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    shell("openssl x509 -in certificate.pem -noout -pubkey > key.pem");
    let verify = "openssl dgst -sha256 -verify key.pem -signature signature.bin statement.txt";
    assert!(shell(verify).contains("Verified OK"));
    let statement = std::fs::read_to_string(folder.join("statement.txt")).unwrap();
    assert!(statement.starts_with("kipuka audit checkpoint v1\nca: ca\n"), "{statement}");

    let exported = audit(&server, &["export"], 0);
    let mut before = "0".repeat(64);
    for line in exported.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let [id, entry] = ["id", "entry"].map(|name| row[name].as_str().unwrap());
        let position = &row["position"];
        let hashed = format!("kipuka audit entry v1\n{before}\n{position}\n{id}\n{entry}");
        before = hex(&sha256(hashed.as_bytes()));
        assert_eq!(row["hash"], before.as_str());
    }
    assert!(statement.contains(&before), "the checkpoint is of the last entry");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_before_a_kill_is_sealed_after_it() {
    let database = Database::sqlite();
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let mut server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    server.kill();
    let killed = json(&server, &["verify", "--json"], 0);
    server.spawn();
    let begun = Instant::now();
    let after = loop {
        let report = json(&server, &["verify", "--json"], 0);
        if report["pending"] == 0 {
            break report;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{report}: {}", server.log());
    };
    let entries = |report: &Value| report["entries"].as_u64().unwrap();
    assert!(entries(&after) > entries(&killed) + killed["pending"].as_u64().unwrap(), "a start");
    let findings = after["findings"].to_string();
    assert_eq!(after["warnings"], 1, "{findings}");
    assert!(findings.contains("there is no checkpoint"), "{findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reloads_and_what_operators_do_are_in_the_trail() {
    let settings = Settings { policy: "deny = [\".b.test\"]".to_owned(), ..Settings::key_file() };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let payload = serde_json::json!({ "identifiers": [{ "type": "dns", "value": "x.b.test" }] });
    let url = client.url("newOrder");
    for _ in 0..30 {
        let refused = client.post(&url, &payload).await;
        assert!(refused.status >= 400, "{}", refused.status);
    }
    succeeds(&server, &["eab", "create", "--name", "somebody"]);
    server.reload().await;
    let good = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), format!("{good}\n[no-such-section]\npin-4711 = 1\n")).unwrap();
    server.signal("HUP");
    server.says("not reloaded").await;
    std::fs::write(server.config(), good).unwrap();
    let begun = Instant::now();
    let listed = loop {
        let listed = audit(&server, &["list"], 0);
        if listed.contains("instance.reload-refused") {
            break listed;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{listed}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for kind in [
        "instance.started",
        "account.created",
        "external-account.created",
        "certificate.issued",
        "instance.reloaded",
    ] {
        assert!(listed.contains(kind), "{kind}: {listed}");
    }
    let refused = audit(&server, &["list", "--kind", "request.refused"], 0);
    assert_eq!(refused.lines().count(), 10, "they are limited: {refused}");
    assert!(refused.contains("x.b.test") && refused.contains("newOrder"), "{refused}");
    assert!(listed.contains("configuration_sha256"), "{listed}");
    let not_reloaded = audit(&server, &["list", "--kind", "instance.reload-refused", "--json"], 0);
    for secret in ["sha256", "pin-4711"] {
        assert!(!not_reloaded.contains(secret), "{not_reloaded}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_read_the_trail_changes_nothing_not_even_an_old_schema() {
    let database = Database::sqlite();
    let settings = Settings { database_url: Some(database.url()), ..Settings::default() };
    let server = Server::prepare(BINARY, settings).await;
    for arguments in [["audit", "verify"], ["audit", "list"], ["audit", "checkpoint"]] {
        let output = server.run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("there is no file"), "{}", text(&output));
    }
    succeeds(&server, &["db", "migrate"]);
    assert_eq!(audit(&server, &["list"], 0), "");
    let sql = "DELETE FROM _sqlx_migrations WHERE version > 13";
    assert!(database.ask(sql).is_some());
    let output = server.run(&["audit", "list"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("schema at step 13 of"), "{}", text(&output));
    assert!(text(&output).contains("db migrate"), "{}", text(&output));
}
