//! Entries for people and programs.

use serde_json::{Value, json};

use super::super::{Failure, print_json, print_listing};
use super::List;
use super::walk::PAGE;
use crate::clock::Timestamp;
use crate::ledger::Row;
use crate::store::{Store, StoreError};

/// Entries are in the order in which they were sealed; their clocks may differ by so much.
const CLOCKS_DIFFER_BY_S: i64 = 600;

pub(super) async fn list(store: &Store, filter: &List) -> Result<(), Failure> {
    let mut last = match filter.since {
        Some(since) => before(store, since).await.map_err(Failure::failed)?,
        None => 0,
    };
    let mut found = Vec::new();
    'pages: loop {
        let rows = store.sealed_entries(last, PAGE).await.map_err(Failure::failed)?;
        let Some(end) = rows.last() else { break };
        last = end.position;
        for row in &rows {
            if found.len() == filter.limit {
                break 'pages;
            }
            found.extend(filter.pick(row));
        }
    }
    if filter.json {
        return print_json(&found);
    }
    let lines = found.iter().map(line);
    print_listing(&lines.collect::<String>())
}

/// Every row as it is, so that its hash can be computed again.
pub(super) async fn export(store: &Store, since: i64) -> Result<(), Failure> {
    let mut last = since;
    loop {
        let rows = store.sealed_entries(last, PAGE).await.map_err(Failure::failed)?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = end.position;
        let line = |row: &Row| {
            let Row { position, id, entry, hash } = row;
            let row = json!({ "position": position, "id": id, "hash": hash, "entry": entry });
            format!("{row}\n")
        };
        print_listing(&rows.iter().map(line).collect::<String>())?;
    }
}

/// A position before every entry of that time.
async fn before(store: &Store, time: Timestamp) -> Result<i64, StoreError> {
    let time = time.minus(std::time::Duration::from_secs(CLOCKS_DIFFER_BY_S.unsigned_abs()));
    let (mut low, mut high) = (0, store.trail().await?.head.position);
    while low < high {
        let middle = low + (high - low) / 2;
        let at = store.sealed_entries(middle, 1).await?.first().and_then(|row| at(&row.entry));
        // What cannot be read is not passed over.
        if at.is_some_and(|at| at < time) { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

fn at(entry: &str) -> Option<Timestamp> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    at_of(&entry)
}

fn at_of(entry: &Value) -> Option<Timestamp> {
    let at: jiff::Timestamp = entry["at"].as_str()?.parse().ok()?;
    Some(Timestamp::from_unix_ms(at.as_millisecond()))
}

impl List {
    /// The entry, with its place, if it is asked for.
    fn pick(&self, row: &Row) -> Option<Value> {
        let mut entry: Value = serde_json::from_str(&row.entry)
            .unwrap_or_else(|_| json!({ "kind": "cannot be read", "details": row.entry }));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, subject, details) =
            (text(&entry["kind"]), text(&entry["subject"]), &entry["details"]);
        let about = |family: &str, detail: &str, wanted: &String| {
            details[detail] == json!(wanted) || (kind.starts_with(family) && subject == *wanted)
        };
        let family = |wanted: &String| {
            kind.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_asked_for = self.kind.as_ref().is_none_or(family)
            && self.ca.as_ref().is_none_or(|ca| entry["ca"] == json!(ca))
            && self.account.as_ref().is_none_or(|account| {
                about("account.", "account", account)
                    || entry["actor"] == json!(format!("account {account}"))
            })
            && self.order.as_ref().is_none_or(|order| about("order.", "order", order))
            && self.serial.as_ref().is_none_or(|one| about("certificate.", "serial", one))
            && self.since.is_none_or(|since| at_of(&entry).is_none_or(|at| at >= since));
        entry["position"] = json!(row.position);
        is_asked_for.then_some(entry)
    }
}

fn line(entry: &Value) -> String {
    let text = |name: &str| match &entry[name] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let [position, at, kind, ca, subject, actor, details] =
        ["position", "at", "kind", "ca", "subject", "actor", "details"].map(text);
    format!("{position:>8}  {at}  {kind}  {ca}  {subject}  by {actor}  {details}\n")
}
