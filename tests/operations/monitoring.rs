//! `/metrics` against its page, the dashboard and the alerts, on a server that has been through it all.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::key::base64url;
use harness::{Ca, Server, Settings};
use serde_json::{Value, json};

use crate::BINARY;

/// Series that have no samples until there is something to tell.
const SHOWN_LATER: [&str; 1] = ["kipuka_rate_limited_total"];

fn repository(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap()
}

/// A server which has issued, failed a validation, and revoked, with one key in a token.
async fn been_through_it_all() -> Server {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let certificate = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let revocation = json!({ "certificate": base64url(certificate[0].to_der().unwrap()) });
    let url = client.url("revokeCert");
    client.post(&url, &revocation).await.expect(200);
    server.crl("ca", 1).await;
    let mut order = client.order(&["b.test"]).await;
    let authorization = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&authorization, "http-01").await;
    client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    assert_eq!(client.settled(&authorization).await["status"], "invalid");
    server
}

fn metrics(server: &Server) -> String {
    let (status, text) = server.admin_get("/metrics").unwrap();
    assert_eq!(status, 200);
    text
}

/// The names of series and of their samples, such as `…_bucket`, that `/metrics` tells of.
struct Series {
    families: BTreeSet<String>,
    samples: BTreeSet<String>,
}

impl Series {
    fn of(text: &str) -> Self {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families = types.map(|rest| rest.split(' ').next().unwrap().to_owned()).collect();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
        Self { families, samples }
    }

    fn has(&self, name: &str) -> bool {
        self.families.contains(name) || self.samples.contains(name)
    }
}

/// The names of our series in an expression or in a page.
fn named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| word.starts_with("kipuka_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

/// Every `expr` in a JSON or YAML value of whatever shape.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "expr" || name == "definition") {
                    Some(expression) => found.push(expression.to_owned()),
                    None => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// What promtool says of `input`, which must be nothing bad.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(repository("config/prometheus"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}; `tests/install.sh test` installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = harness::command::text(&output);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_in_its_page_and_what_dashboard_and_alerts_name_is_there() {
    let server = been_through_it_all().await;
    let text = metrics(&server);
    let series = Series::of(&text);
    assert!(series.families.len() > 50, "{text}");

    let page = read("docs/reference/metrics.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    // Whoever refuses nothing does not show it.
    let expected: BTreeSet<_> =
        rows.iter().filter(|name| !SHOWN_LATER.contains(&name.as_str())).cloned().collect();
    assert_eq!(
        expected, series.families,
        "docs/reference/metrics.md has each series, and no other"
    );

    let dashboard: Value = serde_json::from_str(&read("config/grafana/kipuka.json")).unwrap();
    let mut shown = Vec::new();
    expressions(&dashboard, &mut shown);
    assert!(shown.len() > 50, "{shown:?}");
    let of_dashboard: BTreeSet<_> = shown.iter().flat_map(|shown| named_in(shown)).collect();
    for name in of_dashboard.iter().filter(|name| !SHOWN_LATER.contains(&name.as_str())) {
        assert!(series.has(name), "the dashboard shows {name}, which is not there");
    }
    let without = |name: &&String| {
        let samples = [format!("{name}_bucket"), format!("{name}_count"), (*name).clone()];
        !samples.iter().any(|name| of_dashboard.contains(name))
    };
    let missing: Vec<_> = series.families.iter().filter(without).collect();
    assert!(missing.is_empty(), "the dashboard does not show {missing:?}");

    let alerts = read("config/prometheus/alerts.yml");
    let of_alerts: BTreeSet<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .flat_map(named_in)
        .collect();
    assert!(of_alerts.len() > 15, "{of_alerts:?}");
    for name in &of_alerts {
        // An alert on what is not there yet would be silent.
        assert!(series.samples.contains(name), "an alert watches {name}, which has no samples");
    }
    for name in named_in(&alerts) {
        assert!(series.has(&name), "a runbook names {name}, which is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_counted_and_promtool_finds_nothing_amiss() {
    let server = been_through_it_all().await;
    let text = metrics(&server);
    promtool(&["check", "metrics"], &text);
    for sample in [
        "kipuka_ready 1",
        "kipuka_store_up 1",
        "kipuka_ca_signer_up{ca=\"ca\"} 1",
        "kipuka_orders_total{ca=\"ca\",step=\"placed\"} 2",
        "kipuka_orders_total{ca=\"ca\",step=\"finalized\"} 1",
        "kipuka_orders_total{ca=\"ca\",step=\"issued\"} 1",
        "kipuka_certificates_issued_total{ca=\"ca\",profile=\"\"} 1",
        "kipuka_certificates_revoked_total{ca=\"ca\",reason=\"unspecified\"} 1",
        "kipuka_validation_attempts_total{challenge=\"http-01\",outcome=\"proved\"} 1",
        "kipuka_validation_attempts_total{challenge=\"http-01\",outcome=\"refused\"} 1",
        "kipuka_crl_entries{ca=\"ca\"} 1",
        "kipuka_work_due{kind=\"issuance\"} 0",
        "kipuka_http_requests_total{route=\"/acme/{ca}/new-order\",status=\"201\",problem=\"\"} 2",
        "kipuka_http_request_seconds_count{route=\"/acme/{ca}/revoke-cert\"} 1",
        "kipuka_config_last_reload_successful 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} in {text}");
    }
    // A label with an id in it would make endless series.
    let mut client = server.account("ca").await;
    let labels = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<BTreeSet<_>>()
    };
    for _ in 0..2 {
        client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    }
    let before = labels(&metrics(&server));
    for name in ["c.test", "d.test", "e.test"] {
        let mut client = server.account("ca").await;
        client.order(&[name]).await.prove("http-01").await.finalize().await;
        client.get(&format!("/no/such/{name}")).await.expect(404);
        client.get(&format!("/acme/{name}/directory")).await.expect(404);
    }
    let new: Vec<_> = labels(&metrics(&server)).difference(&before).cloned().collect();
    let about_404 = |series: &&String| !series.contains("\"404\"") && !series.contains("\"none\"");
    let new: Vec<_> = new.iter().filter(about_404).collect();
    assert!(new.iter().all(|series| series.contains("/directory")), "{new:?}");
    assert!(new.len() < 20, "{new:?}");
}

#[test]
fn the_alerts_fire_when_they_should_and_not_before() {
    let checked = promtool(&["check", "rules", "alerts.yml"], "");
    assert!(checked.contains("SUCCESS"), "{checked}");
    let tested = promtool(&["test", "rules", "alerts-test.yml"], "");
    assert!(tested.contains("SUCCESS"), "{tested}");
}

/// Each says what to do, and how urgent it is.
#[test]
fn every_alert_has_a_summary_a_runbook_and_a_severity() {
    let text = read("config/prometheus/alerts.yml");
    let alerts: Vec<_> = text.split("- alert: ").skip(1).collect();
    for watched in [
        "KipukaNotReady",
        "KipukaTokenAway",
        "KipukaPinRefused",
        "KipukaCrlAboutToExpire",
        "KipukaCrlOverdue",
        "KipukaTlsCertificateExpires",
        "KipukaCaCertificateExpires",
        "KipukaWorkWaits",
        "KipukaValidationsFail",
        "KipukaProblemsMany",
        "KipukaStoreErrors",
        "KipukaStoreSlow",
        "KipukaPoolExhausted",
        "KipukaFileDescriptorsNearlyUsedUp",
        "KipukaReloadFailed",
        "KipukaAuditNotSealed",
    ] {
        assert!(alerts.iter().any(|alert| alert.starts_with(watched)), "{watched}");
    }
    for alert in alerts {
        let urgent = alert.contains("severity: page") || alert.contains("severity: ticket");
        assert!(
            urgent && alert.contains("summary: \"") && alert.contains("runbook: \""),
            "{alert}"
        );
    }
}

/// For Grafana 10 and newer: a row for each room, and variables for what there may be several of.
#[test]
fn the_dashboard_has_rows_variables_and_no_panel_twice() {
    let dashboard: Value = serde_json::from_str(&read("config/grafana/kipuka.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38);
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    for variable in ["datasource", "instance", "ca"] {
        assert!(variables.contains(&variable), "{variables:?}");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row").count();
    assert!(rows >= 8, "{rows} rows");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let taken = |panel: &Value| {
        let at = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| at[name].as_u64().unwrap());
        assert!(x + w <= 24 && h > 0, "{panel}");
        (x..x + w).flat_map(move |x| (y..y + h).map(move |y| (x, y))).collect::<Vec<_>>()
    };
    let mut places = BTreeSet::new();
    for place in panels.iter().flat_map(taken) {
        assert!(places.insert(place), "two panels at {place:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_answers_while_the_database_is_away() {
    let database = harness::Database::postgres();
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let server = Server::start(BINARY, settings).await;
    assert!(metrics(&server).contains("kipuka_work_due{kind=\"crl\"}"));
    drop(database);
    let begun = std::time::Instant::now();
    loop {
        let text = metrics(&server);
        if text.contains("kipuka_store_up 0") {
            assert!(text.contains("kipuka_ready 0"), "{text}");
            assert!(!text.contains("kipuka_work_due{"), "{text}");
            assert!(text.contains("process_cpu_seconds_total"), "{text}");
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
