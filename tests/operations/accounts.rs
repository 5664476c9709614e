//! `kipuka account` and `kipuka eab`, and the page that tells of them.

use harness::external_account::Credentials;
use harness::{Ca, Server, Settings};
use serde_json::{Value, json};

use crate::BINARY;
use crate::operate::{path, tested_commands};

fn run(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(arguments);
    assert!(output.status.success(), "{}", harness::command::text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = server.run(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{}", harness::command::text(&output));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn json_of(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(server, arguments)).unwrap()
}

async fn two_cas() -> Server {
    let settings = Settings {
        cas: vec![Ca::KeyFile { id: "one", rsa: false }, Ca::KeyFile { id: "two", rsa: false }],
        ..Settings::default()
    };
    Server::start(BINARY, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_shown_and_deactivated() {
    let server = two_cas().await;
    assert_eq!(json_of(&server, &["account", "list", "--json"]), json!([]));
    assert_eq!(run(&server, &["account", "list"]), "");
    let mut kept = server.client("one").await;
    kept.new_account(&json!({ "contact": ["mailto:a@example.test"] })).await.expect(201);
    let mut gone = server.account("two").await;
    let url = gone.kid.clone().unwrap();
    let id = url.rsplit('/').next().unwrap();

    let listed = json_of(&server, &["account", "list", "--json"]);
    let cas: Vec<_> = listed.as_array().unwrap().iter().map(|account| &account["ca"]).collect();
    assert_eq!(cas, ["one", "two"], "in the order in which they were made");
    assert_eq!(listed[0]["contact"], json!(["mailto:a@example.test"]));
    assert_eq!(listed[0]["thumbprint"], kept.key.thumbprint());
    assert_eq!(listed[0]["terms_agreed_at"], json!(null));
    let of_two = json_of(&server, &["account", "list", "--ca", "two", "--json"]);
    assert_eq!(of_two, json!([listed[1]]));
    let text = run(&server, &["account", "list"]);
    assert!(text.contains("mailto:a@example.test") && text.contains(id), "{text}");

    for name in [id, &*url] {
        assert_eq!(json_of(&server, &["account", "show", name, "--json"]), listed[1]);
    }
    let ended = json_of(&server, &["account", "deactivate", &url, "--json"]);
    assert_eq!((&ended["id"], &ended["status"]), (&json!(id), &json!("deactivated")));
    gone.post_as_get(&url).await.expect_problem(401, "unauthorized");
    // Once more: it stays as it is.
    assert_eq!(json_of(&server, &["account", "deactivate", &url, "--json"]), ended);
    let shown = run(&server, &["account", "show", id]);
    assert!(shown.contains("deactivated"), "{shown}");
    for unknown in ["nobody", "-nobody"] {
        let (code, said) = refused(&server, &["account", "show", unknown]);
        assert_eq!(code, Some(1));
        assert!(said.contains("kipuka account list"), "{said}");
        refused(&server, &["account", "deactivate", unknown]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_external_accounts_are_made_listed_and_revoked() {
    let server = two_cas().await;
    assert_eq!(json_of(&server, &["eab", "list", "--json"]), json!([]));
    // Which CA must be said where there are several.
    let (code, said) = refused(&server, &["eab", "create"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--ca") && said.contains("one, two"), "{said}");
    let (_, said) = refused(&server, &["eab", "create", "--ca", "three"]);
    assert!(said.contains("\"three\"") && said.contains("one, two"), "{said}");
    for wrong in [
        ["--allow", "a..test"],
        ["--allow", "10.0.0.0/33"],
        ["--allow", ""],
        ["--days", "0"],
        ["--alg", "ES256"],
        ["--name", "two\nlines"],
    ] {
        let (code, said) =
            refused(&server, &[&["eab", "create", "--ca", "one"][..], &wrong].concat());
        assert_eq!(code, Some(2), "{said}");
    }
    assert_eq!(json_of(&server, &["eab", "list", "--json"]), json!([]));

    let text = run(&server, &["eab", "create", "--ca", "one", "--name", "web team", "--days", "7"]);
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(" : ").unwrap().1.to_owned()
    };
    let (kid, hmac_key) = (field("key identifier"), field("MAC key"));
    assert_eq!(harness::external_account::decode(&hmac_key).len(), 32);
    assert!(text.contains(&format!("--eab-kid {kid} --eab-hmac-key {hmac_key}")), "{text}");
    for (alg, length) in [("HS384", 48), ("hs512", 64)] {
        let options = ["eab", "create", "--ca", "two", "--alg", alg, "--json"];
        let credentials = Credentials::from_json(&run(&server, &options));
        assert_eq!(credentials.alg, alg.to_uppercase());
        assert_eq!(harness::external_account::decode(&credentials.hmac_key).len(), length);
    }
    let listed = json_of(&server, &["eab", "list", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(listed[0]["kid"], kid);
    assert_eq!((&listed[0]["name"], &listed[0]["status"]), (&json!("web team"), &json!("active")));
    assert!(listed[0]["expires_at"].is_string() && listed[1]["expires_at"].is_null());
    let of_two = json_of(&server, &["eab", "list", "--ca", "two", "--json"]);
    assert_eq!(of_two, json!([listed[1], listed[2]]));

    let said = run(&server, &["eab", "revoke", &kid]);
    assert!(said.contains("is revoked"), "{said}");
    assert!(run(&server, &["eab", "revoke", &kid]).contains("revoked before"));
    assert_eq!(json_of(&server, &["eab", "list", "--json"])[0]["status"], "revoked");
    let (code, said) = refused(&server, &["eab", "revoke", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("kipuka eab list"), "{said}");
    assert!(!run(&server, &["eab", "list"]).contains(&hmac_key));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_on_accounts_work() {
    let port = harness::Port::reserve();
    let settings = Settings {
        cas: vec![Ca::KeyFile { id: "issuing-ca", rsa: false }],
        ca: "external_account_required = true".to_owned(),
        ..Settings::default()
    };
    let mut server = Server::prepare(BINARY, settings).await;
    let config = std::fs::read_to_string(server.config()).unwrap();
    let asked = format!("http_port = {}", server.responder.http_port);
    let here = format!("http_port = {}", port.number);
    std::fs::write(server.config(), config.replace(&asked, &here)).unwrap();
    server.spawn();
    let folder = server.folder.path().to_owned();
    let commands = tested_commands("accounts.md");
    for command in ["eab create", "eab list", "eab revoke", "account list", "certbot", "lego"] {
        assert!(commands.contains(command), "{command}: {commands}");
    }
    let work = folder.display();
    let commands = commands
        .replace("ca.example.internal:8443", &format!("localhost:{}", server.address.port()))
        .replace("127.0.0.1:5002", &port.address().to_string())
        .replace(
            "certbot register",
            &format!(
                "certbot register --config-dir {work}/certbot --work-dir {work}/certbot/work \
                 --logs-dir {work}/certbot/logs"
            ),
        )
        .replace("lego --server", &format!("lego --path {work}/lego --server"));
    let script = format!("set -e\ncd {work}\n{commands}");
    let (config, root) = (server.config().display().to_string(), server.root());
    let root = root.to_string_lossy();
    let environment = [
        ("PATH", &*path(&folder)),
        ("KIPUKA_CONFIG", &config),
        ("REQUESTS_CA_BUNDLE", &root),
        ("LEGO_CA_CERTIFICATES", &root),
    ];
    let said = harness::command::shell(&script, &environment);
    assert!(said.contains("is revoked"), "{said}");
    assert_eq!(json_of(&server, &["account", "list", "--json"]).as_array().unwrap().len(), 2);
    assert!(folder.join("lego/certificates/www.localhost.crt").exists());
}
