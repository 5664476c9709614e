//! External account binding (RFC 8555 §7.3.4).

use harness::acme::{Client, Jws};
use harness::external_account::Credentials;
use harness::{Ca, Database, Server, Settings};
use serde_json::{Value, json};

use crate::server_with;

const REQUIRED: &str = "external_account_required = true";

async fn server() -> Server {
    server_with(Settings { ca: REQUIRED.to_owned(), ..Settings::key_file() }).await
}

fn create(server: &Server, options: &[&str]) -> Credentials {
    let output = server.run(&[&["eab", "create", "--json"], options].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Credentials::from_json(&String::from_utf8(output.stdout).unwrap())
}

fn run(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A right newAccount with this binding.
fn payload(binding: &Value) -> Value {
    json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding })
}

fn binding(client: &Client, credentials: &Credentials) -> Value {
    credentials.bind(&client.url("newAccount"), &client.key.jwk())
}

async fn bound(server: &Server, credentials: &Credentials) -> Client {
    let mut client = server.client("ca").await;
    let payload = payload(&binding(&client, credentials));
    let answer = client.new_account(&payload).await.expect(201);
    client.kid = Some(answer.header("location").to_owned());
    client
}

async fn an_account_is_made_with_a_binding_and_shows_it(database: Database) {
    let settings = Settings {
        ca: REQUIRED.to_owned(),
        database_url: Some(database.url()),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    for alg in ["HS256", "HS384", "HS512"] {
        let credentials = create(&server, &["--alg", alg]);
        assert_eq!(credentials.alg, alg);
        let mut client = server.client("ca").await;
        assert_eq!(client.directory["meta"]["externalAccountRequired"], true);
        for without in [json!({}), json!({ "termsOfServiceAgreed": true, "contact": [] })] {
            let refused = client.new_account(&without).await;
            refused.expect_problem(403, "externalAccountRequired");
        }
        let binding = binding(&client, &credentials);
        let created = client.new_account(&payload(&binding)).await.expect(201);
        assert_eq!(created.json()["externalAccountBinding"], binding);
        client.kid = Some(created.header("location").to_owned());
        let read = client.post_as_get(created.header("location")).await.expect(200);
        assert_eq!(read.json(), created.json());
        client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    }
}

#[tokio::test]
async fn an_account_is_made_with_a_binding_and_shows_it_on_sqlite() {
    an_account_is_made_with_a_binding_and_shows_it(Database::sqlite()).await;
}

#[tokio::test]
async fn an_account_is_made_with_a_binding_and_shows_it_on_postgres() {
    an_account_is_made_with_a_binding_and_shows_it(Database::postgres()).await;
}

#[tokio::test]
async fn where_no_binding_is_required_one_that_is_sent_must_hold_all_the_same() {
    let server = crate::server().await;
    let credentials = create(&server, &[]);
    let mut client = server.client("ca").await;
    assert_eq!(client.directory["meta"].get("externalAccountRequired"), None);
    let forged = Credentials { hmac_key: "AAAA".to_owned(), ..credentials.clone() };
    let forged = binding(&client, &forged);
    client.new_account(&payload(&forged)).await.expect_problem(403, "unauthorized");
    let right = binding(&client, &credentials);
    let created = client.new_account(&payload(&right)).await.expect(201);
    assert_eq!(created.json()["externalAccountBinding"], right);
    server.account("ca").await;
}

#[tokio::test]
async fn bindings_that_do_not_hold_are_refused_with_one_sentence() {
    let settings = Settings {
        cas: vec![Ca::KeyFile { id: "ca", rsa: false }, Ca::KeyFile { id: "other", rsa: false }],
        ca: REQUIRED.to_owned(),
        ..Settings::default()
    };
    let server = server_with(settings).await;
    let good = create(&server, &["--ca", "ca", "--reusable"]);
    let revoked = create(&server, &["--ca", "ca"]);
    run(&server, &["eab", "revoke", &revoked.kid]);
    let used = create(&server, &["--ca", "ca"]);
    bound(&server, &used).await;
    let other_key = create(&server, &["--ca", "ca"]).hmac_key;
    let cases = [
        ("revoked", revoked),
        ("used", used),
        ("another CA's", create(&server, &["--ca", "other"])),
        ("unknown", Credentials { kid: "unknown".to_owned(), ..good.clone() }),
        ("another MAC key", Credentials { hmac_key: other_key, ..good.clone() }),
        ("a MAC key of nothing", Credentials { hmac_key: "AA".to_owned(), ..good.clone() }),
        (
            "no key at all",
            Credentials { kid: "x".to_owned(), hmac_key: "A".repeat(43), ..good.clone() },
        ),
        ("another algorithm", Credentials { alg: "HS512".to_owned(), ..good.clone() }),
    ];
    let mut said = std::collections::BTreeSet::new();
    for (what, credentials) in cases {
        eprintln!("{what}");
        let mut client = server.client("ca").await;
        let binding = binding(&client, &credentials);
        let refused = client.new_account(&payload(&binding)).await;
        said.insert(refused.expect_problem(403, "unauthorized").text());
    }
    assert_eq!(said.len(), 1, "{said:?}");
    bound(&server, &good).await;
}

#[tokio::test]
async fn a_binding_that_is_not_as_the_rfc_says_is_refused() {
    let server = server().await;
    let credentials = create(&server, &["--reusable"]);
    let mut client = server.client("ca").await;
    let (url, jwk) = (client.url("newAccount"), client.key.jwk());
    let header = |name: &str, value: Value| {
        let mut header = credentials.header(&url);
        header[name] = value;
        credentials.sign(&header, jwk.to_string().as_bytes())
    };
    let other = server.client("ca").await;
    let signed_by_the_account_key = client.sign(&Jws {
        protected: json!({ "alg": "ES256", "kid": credentials.kid, "url": url }),
        payload: jwk.to_string().into_bytes(),
    });
    let mut with_header = credentials.bind(&url, &jwk);
    with_header["header"] = json!({ "kid": credentials.kid });
    let mut private = jwk.clone();
    private["d"] = json!("AAAA");
    for (what, binding, problem) in [
        ("a nonce", header("nonce", json!("bm9uY2U")), "malformed"),
        ("a jwk", header("jwk", jwk.clone()), "malformed"),
        ("crit", header("crit", json!(["exp"])), "malformed"),
        ("another url", header("url", json!(client.url("newOrder"))), "malformed"),
        ("no text as url", header("url", json!(null)), "malformed"),
        ("no text as kid", header("kid", json!(7)), "malformed"),
        ("no MAC", header("alg", json!("none")), "badSignatureAlgorithm"),
        ("an unknown MAC", header("alg", json!("HS1")), "badSignatureAlgorithm"),
        ("a signature", signed_by_the_account_key, "badSignatureAlgorithm"),
        ("another key", credentials.bind(&url, &other.key.jwk()), "malformed"),
        ("a private key", credentials.bind(&url, &private), "malformed"),
        ("no key", credentials.bind(&url, &json!({})), "malformed"),
        ("an empty payload", credentials.sign(&credentials.header(&url), b""), "malformed"),
        ("an unprotected header", with_header, "malformed"),
        ("a text", json!("binding"), "malformed"),
        ("a list", json!([]), "malformed"),
        ("a number", json!(1), "malformed"),
        ("no signature", json!({ "protected": "e30", "payload": "e30" }), "malformed"),
    ] {
        eprintln!("{what}");
        let answer = client.new_account(&payload(&binding)).await;
        let refused = answer.expect_problem(400, problem).json();
        if problem == "badSignatureAlgorithm" {
            assert_eq!(refused["algorithms"], json!(["HS256", "HS384", "HS512"]));
        }
    }
    bound(&server, &credentials).await;
}

#[tokio::test]
async fn a_key_binds_one_account_unless_it_is_reusable() {
    let server = server().await;
    let once = create(&server, &[]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = server.client("ca").await;
        let payload = payload(&binding(&client, &once));
        tasks.spawn(async move { client.new_account(&payload).await });
    }
    let answers = tasks.join_all().await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    for refused in answers.into_iter().filter(|answer| answer.status != 201) {
        refused.expect_problem(403, "unauthorized");
    }
    let reusable = create(&server, &["--reusable"]);
    for _ in 0..3 {
        bound(&server, &reusable).await;
    }
}

#[tokio::test]
async fn a_bound_account_orders_only_what_its_key_allows() {
    let server = server().await;
    let allow = ["--allow", "a.test,.b.test", "--allow", "127.0.0.0/8"];
    let credentials = create(&server, &allow);
    let mut client = bound(&server, &credentials).await;
    for allowed in ["a.test", "x.b.test", "y.x.b.test", "*.b.test"] {
        client.new_order(&[allowed]).await.expect(201);
    }
    let new_order = client.url("newOrder");
    let ip = |value: &str| json!({ "identifiers": [{ "type": "ip", "value": value }] });
    client.post(&new_order, &ip("127.1.2.3")).await.expect(201);
    client.post(&new_order, &ip("10.0.0.1")).await.expect_problem(400, "rejectedIdentifier");
    for refused in ["x.a.test", "b.test", "*.a.test", "a.test.test", "xb.test"] {
        let refused = client.new_order(&[refused]).await;
        refused.expect_problem(400, "rejectedIdentifier");
    }
    let refused = client.new_order(&["a.test", "b.test", "c.test", "x.b.test"]).await;
    let refused = refused.expect_problem(400, "rejectedIdentifier").json();
    let subproblems = refused["subproblems"].as_array().unwrap();
    let names: Vec<_> = subproblems.iter().map(|sub| &sub["identifier"]["value"]).collect();
    assert_eq!(names, ["b.test", "c.test"]);
    for sub in subproblems {
        let detail = sub["detail"].as_str().unwrap();
        for rule in ["a.test", ".b.test", "127.0.0.0/8", &credentials.kid] {
            assert!(detail.contains(rule), "{detail} names {rule}");
        }
    }
    // A key of the account's own choosing changes nothing about it.
    bound(&server, &create(&server, &[])).await.new_order(&["c.test"]).await.expect(201);
}

#[tokio::test]
async fn a_bound_account_proves_no_domain_above_what_its_key_allows() {
    let ca = format!("{REQUIRED}\nsubdomain_authorizations = true");
    let server = server_with(Settings { ca, ..Settings::key_file() }).await;
    let mut client = bound(&server, &create(&server, &["--allow", ".b.test"])).await;
    for (ancestor, status) in [("y.b.test", 201), ("b.test", 400), ("test", 400)] {
        let identifier =
            json!({ "type": "dns", "value": "x.y.b.test", "ancestorDomain": ancestor });
        let order = json!({ "identifiers": [identifier] });
        let answer = client.post(&client.url("newOrder"), &order).await;
        if status == 201 {
            answer.expect(201);
        } else {
            answer.expect_problem(status, "rejectedIdentifier");
        }
    }
}

#[tokio::test]
async fn revoking_a_key_leaves_its_accounts_unless_they_are_to_be_deactivated() {
    let server = server().await;
    let credentials = create(&server, &["--reusable"]);
    let mut one = bound(&server, &credentials).await;
    let mut two = bound(&server, &credentials).await;
    let other = create(&server, &[]);
    let mut untouched = bound(&server, &other).await;
    let said = run(&server, &["eab", "revoke", &credentials.kid]);
    assert!(said.contains("2 accounts"), "{said}");
    one.new_order(&["a.test"]).await.expect(201);
    let said = run(&server, &["eab", "revoke", &credentials.kid, "--deactivate-accounts"]);
    assert_eq!(said.matches("is deactivated").count(), 2, "{said}");
    for client in [&mut one, &mut two] {
        client.new_order(&["a.test"]).await.expect_problem(401, "unauthorized");
    }
    untouched.new_order(&["a.test"]).await.expect(201);
}

#[tokio::test]
async fn no_mac_key_is_in_the_log_or_in_a_listing_or_in_the_database_once_it_was_used() {
    let server = server().await;
    let credentials = create(&server, &["--name", "web team"]);
    let forged = Credentials { hmac_key: "AAAA".to_owned(), ..credentials.clone() };
    let mut client = server.client("ca").await;
    let forged = binding(&client, &forged);
    client.new_account(&payload(&forged)).await.expect_problem(403, "unauthorized");
    bound(&server, &credentials).await;
    let listed = run(&server, &["eab", "list"]) + &run(&server, &["eab", "list", "--json"]);
    assert!(listed.contains("web team") && listed.contains("bound"), "{listed}");
    let log = server.log();
    assert!(log.contains("the MAC is wrong"), "the operator is told why: {log}");
    for text in [&listed, &log] {
        assert!(!text.contains(&credentials.hmac_key));
    }
    let raw = harness::external_account::decode(&credentials.hmac_key);
    for file in ["kipuka.db", "kipuka.db-wal"] {
        let bytes = std::fs::read(server.folder.path().join(file)).unwrap_or_default();
        let found = bytes.windows(raw.len()).any(|window| window == raw);
        // The write-ahead log keeps what was overwritten until it is reused.
        assert!(!found || file.ends_with("-wal"), "{file}");
    }
}
