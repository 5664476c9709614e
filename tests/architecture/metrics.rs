//! Every series is in its page; `operations::monitoring` compares the page with a running server.

use std::collections::BTreeSet;

use crate::{read, sources};

/// The names that are entered, as a counter's is without its `_total`.
fn entered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in sources("src/telemetry/metrics") {
        let text = read(&file);
        for entered in text.split("series.add(").skip(1) {
            let name =
                entered.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            names.insert(name.unwrap_or_else(|| panic!("{file}: {entered}")).to_owned());
        }
    }
    names
}

#[test]
fn docs_reference_metrics_has_every_series_that_is_entered_and_no_other() {
    let page = read("docs/reference/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `kipuka_")?.split('`').next());
    let rows: BTreeSet<&str> = rows.collect();
    let entered = entered();
    assert!(entered.len() > 40, "{entered:?}");
    for name in &entered {
        let there = rows.contains(name.as_str()) || rows.contains(&*format!("{name}_total"));
        assert!(there, "docs/reference/metrics.md does not have {name}");
    }
    for row in rows.iter().filter(|row| **row != "build_info") {
        let name = row.strip_suffix("_total").unwrap_or(row);
        assert!(entered.contains(name), "nothing enters {row}, which the page has");
    }
}

/// Names of metrics are in one folder.
#[test]
fn only_telemetry_names_the_crate_of_the_metrics() {
    for file in sources("src") {
        let named = read(&file).contains("prometheus_client");
        assert!(!named || file.starts_with("src/telemetry/metrics/"), "{file}");
    }
}
