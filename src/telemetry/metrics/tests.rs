use std::time::Duration;

use super::*;

/// As promtool reads it: each sample below a TYPE of its own name, each TYPE below its HELP.
#[test]
fn the_text_for_prometheus_names_each_series_as_its_samples_do() {
    let metrics = Metrics::new();
    metrics.acme.nonce_spent();
    metrics.http.answered("/a/{b}", 400, Some("badNonce"), Duration::from_millis(3));
    metrics.work.attempted("crl", Duration::from_secs(1), true);
    let text = metrics.encode(Format::Prometheus);
    for line in [
        "# HELP kipuka_acme_nonces_total Nonces by result: issued, spent, refused.",
        "# TYPE kipuka_acme_nonces_total counter",
        "kipuka_acme_nonces_total{result=\"spent\"} 1",
        "kipuka_http_requests_total{route=\"/a/{b}\",status=\"400\",problem=\"badNonce\"} 1",
        "# TYPE kipuka_http_request_seconds histogram",
        "# TYPE kipuka_build_info gauge",
        "# TYPE process_cpu_seconds_total counter",
        "kipuka_work_attempts_failed_total{kind=\"crl\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    let mut kind = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap();
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = match kind.1 {
                "histogram" => {
                    let suffixes = ["_bucket", "_sum", "_count"];
                    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap()
                }
                _ => name,
            };
            assert_eq!(base, kind.0, "{line}");
        }
    }
}

#[test]
fn open_metrics_is_for_who_asks_for_it() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    assert_eq!(Format::accepted("*/*"), Format::Prometheus);
    assert_eq!(Format::accepted(""), Format::Prometheus);
    assert!(Metrics::new().encode(Format::OpenMetrics).ends_with("# EOF\n"));
}

#[test]
fn what_the_process_uses_is_told() {
    let text = Metrics::new().encode(Format::Prometheus);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_threads") >= 1.0);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    // After the first release of kipuka.
    assert!(value("process_start_time_seconds") > 1.7e9);
}

/// A clock of the server's, or whatever was there before, is not shown for what is no more.
#[test]
fn gauges_of_what_is_gone_are_gone() {
    let metrics = Metrics::new();
    metrics.expiry.cas([("one", 1), ("two", 2)]);
    metrics.state.show(true, [("one", true), ("two", false)]);
    let text = metrics.encode(Format::Prometheus);
    assert!(text.contains("kipuka_ready 0") && text.contains("{ca=\"two\"} 2"), "{text}");
    metrics.expiry.cas([("one", 1)]);
    metrics.state.show(true, [("one", true)]);
    let text = metrics.encode(Format::Prometheus);
    assert!(text.contains("kipuka_ready 1") && !text.contains("\"two\""), "{text}");
}
