//! The log: one line for each request and each job, with the ids by which they are found.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Ca, Server, Settings};
use serde_json::{Value, json};

use crate::BINARY;

/// Every line is one JSON object, or the log is broken.
fn lines(server: &Server) -> Vec<Value> {
    let log = server.log();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of_message<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

async fn wait_for(server: &Server, what: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let lines = lines(server);
        if what(&lines) {
            return lines;
        }
        assert!(begun.elapsed().as_secs() < 20, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn last_part(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuance_is_followed_through_the_log_by_its_ids() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let account = last_part(client.kid.as_ref().unwrap()).to_owned();
    let order = client.order(&["a.test"]).await;
    let authorization = last_part(&order.authorization_urls()[0]).to_owned();
    let order_id = last_part(&order.url).to_owned();
    let mut order = order.prove("http-01").await;
    let csr = order.csr().der();
    let finalized = order.finalize_with(&csr).await.expect(200);
    order.certificates().await;
    let lines = wait_for(&server, |lines| {
        let ended = of_message(lines, "work ended");
        ended.iter().any(|line| line["work"] == "issuance")
    })
    .await;

    let requests = of_message(&lines, "request");
    let of = |path: &str| {
        let found = requests.iter().find(|line| {
            let known = line["path"].as_str().is_some_and(|known| known.contains(path));
            known && line["method"] == "POST"
        });
        *found.unwrap_or_else(|| panic!("{path} in {requests:?}"))
    };
    let finalize = of("/finalize");
    for (name, value) in [("ca.id", "ca"), ("account.id", &account), ("order.id", &order_id)] {
        assert_eq!(finalize[name], value, "{finalize}");
    }
    assert_eq!(finalize["status"], 200);
    assert!(finalize["elapsed_ms"].is_u64(), "{finalize}");
    assert_eq!(finalize["request_id"], finalized.header("x-request-id"));
    let challenge = of("/chall/");
    assert_eq!(challenge["authorization.id"], authorization.as_str(), "{challenge}");
    assert_eq!(of("/new-order")["order.id"], order_id.as_str());

    // What was done for them was done under their names.
    let issued = of_message(&lines, "certificate issued")[0];
    assert_eq!(issued["request_id"], finalize["request_id"], "{issued}");
    assert!(issued["serial"].is_string(), "{issued}");
    let validated = of_message(&lines, "challenge validated")[0];
    assert_eq!(validated["request_id"], challenge["request_id"], "{validated}");
    let ended = of_message(&lines, "work ended");
    let issuance = ended.iter().find(|line| line["work"] == "issuance").unwrap();
    for name in ["ca.id", "account.id", "order.id", "serial", "request_id"] {
        assert_eq!(issuance[name], issued[name], "{name}: {issuance}");
    }
    assert!(issuance["elapsed_ms"].is_u64() && issuance["failed"] == false, "{issuance}");
    // Each line of a request has its name, and no two requests have one.
    let mut names: Vec<_> =
        requests.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_in_the_line_of_its_request_by_its_type() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    client.new_order(&["bad name"]).await;
    let lines = wait_for(&server, |lines| {
        of_message(lines, "request").iter().any(|line| !line["problem"].is_null())
    })
    .await;
    let requests = of_message(&lines, "request");
    let refused = requests.iter().find(|line| !line["problem"].is_null()).unwrap();
    assert!(refused["status"].as_u64().unwrap() >= 400, "{refused}");
    let problem = refused["problem"].as_str().unwrap();
    assert!(
        ["malformed", "rejectedIdentifier", "unsupportedIdentifier"].contains(&problem),
        "{refused}"
    );
}

/// Names, contacts, paths and headers of a stranger's making, with what ends a line in them.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_lines_of_their_own() {
    for format in ["json", "text"] {
        let server = Server::prepare(BINARY, Settings::key_file()).await;
        let config = fs::read_to_string(server.config()).unwrap();
        let config = config.replace("format = \"json\"", &format!("format = \"{format}\""));
        let config = config.replace("level = \"info\"", "level = \"debug,hyper=off,hickory=off\"");
        fs::write(server.config(), config).unwrap();
        let mut server = server;
        server.spawn();
        let mut client = server.account("ca").await;
        let forged = "\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\nforged\u{1b}[2J";
        client.new_order(&[forged]).await;
        let contact = format!("mailto:a@b.test{forged}");
        let mut other = server.client("ca").await;
        other.new_account(&json!({ "termsOfServiceAgreed": true, "contact": [contact] })).await;
        client.get("/acme/ca/order/%0Aforged%1B%5B2J").await;
        client.get("/acme/%0Aforged/directory").await;
        let order = client.url("newOrder");
        client
            .post_raw(&order, &"application/jose+json".replace('+', "\u{e9}+"), forged.into())
            .await;
        client
            .post_json(
                &order,
                &json!({ "protected": forged, "payload": forged, "signature": forged }),
            )
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let log = server.log();
        assert!(log.contains("/new-order"), "{log}");
        for line in log.lines() {
            assert!(!line.starts_with("forged") && !line.contains('\u{1b}'), "{line:?}");
            if format == "json" {
                let object: Value = serde_json::from_str(line).unwrap();
                assert_ne!(object["message"], "forged", "{line}");
            } else {
                assert!(line.starts_with("20"), "no time: {line:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_the_log_at_any_level() {
    let settings = Settings {
        cas: vec![
            Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 },
            Ca::KeyFile { id: "file", rsa: false },
        ],
        ..Settings::default()
    };
    let mut server = Server::prepare(BINARY, settings).await;
    let config = fs::read_to_string(server.config()).unwrap();
    fs::write(server.config(), config.replace("level = \"info\"", "level = \"trace\"")).unwrap();
    server.spawn();
    let mut client = server.account("ca").await;
    let nonce = client.nonce().await;
    let mut order = client.order(&["a.test"]).await;
    let authorization = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&authorization, "http-01").await;
    let token = challenge["token"].as_str().unwrap().to_owned();
    order.prove("http-01").await.finalize().await;
    let log = server.log();
    assert!(log.contains("certificate issued") && log.contains("\"TRACE\""), "{log}");
    let pin = fs::read_to_string(server.config()).unwrap();
    assert!(!pin.contains(harness::token::PIN), "the PIN comes by the environment");
    let key = fs::read_to_string(server.folder.path().join("file-key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for (what, secret) in [
        ("PIN", format!("\"{}\"", harness::token::PIN)),
        ("nonce", nonce),
        ("key", secret.to_owned()),
        ("key authorization", client.key_authorization(&token)),
    ] {
        assert!(!log.contains(&secret), "the {what} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_changes_the_level() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let client = server.client("ca").await;
    let requests = || server.log().matches("\"message\":\"request\"").count();
    let config = fs::read_to_string(server.config()).unwrap();
    let set = |level: &str| {
        let config = config.replace("level = \"info\"", &format!("level = \"{level}\""));
        fs::write(server.config(), config).unwrap();
    };
    set("warn");
    // No line tells of it: that of the reload is less than a warning.
    server.signal("HUP");
    let begun = Instant::now();
    loop {
        let before = requests();
        client.get("/acme/ca/directory").await.expect(200);
        tokio::time::sleep(Duration::from_millis(50)).await;
        if requests() == before {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "{}", server.log());
    }
    set("info");
    server.reload().await;
    let before = requests();
    client.get("/acme/ca/directory").await.expect(200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(requests() > before, "{}", server.log());
    set("no,such=level=at all");
    server.signal("HUP");
    wait_for(&server, |lines| {
        lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("not reloaded"))
    })
    .await;
}

/// The commands of docs/operate/logs.md find what the page says.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_on_logs_find_what_they_are_for() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    client.new_order(&["bad name"]).await;
    wait_for(&server, |lines| !of_message(lines, "certificate issued").is_empty()).await;
    let folder = server.folder.path();
    let log = server.log();
    fs::write(folder.join("kipuka.log"), &log).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/logs.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<_> = page.split("```sh tested\n").skip(1).collect();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    let issued: Value = serde_json::from_str(
        log.lines().find(|line| line.contains("\"certificate issued\"")).unwrap(),
    )
    .unwrap();
    for block in blocks {
        let script = block.split("```").next().unwrap();
        let order = issued["order.id"].as_str().unwrap();
        let request = issued["request_id"].as_str().unwrap();
        let script = script.replace("ORDER", order).replace("REQUEST", request);
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(folder);
        let said = harness::command::run(&mut command);
        assert!(!said.trim().is_empty(), "{script} found nothing");
    }
}
