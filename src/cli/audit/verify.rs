//! `kipuka audit verify`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Failure, print_json};
use super::Verify;
use super::checkpoint::{self, Keys};
use super::tables::{Tables, Unaudited};
use super::walk::{PAGE, Seen, walk};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::ledger::{ChainCheck, Head};
use crate::store::{SignedCheckpoint, Store};

/// A server seals every second, and whoever takes over from one that was killed after ten.
const PENDING_AT_MOST: Duration = Duration::from_secs(60);
/// A server signs every ten minutes and every 10,000 entries.
const UNSIGNED_AT_MOST: Duration = Duration::from_secs(3600);
const UNSIGNED_ENTRIES_AT_MOST: i64 = 20_000;
/// Findings that are kept for JSON at most; all are counted.
const KEPT: usize = 10_000;

pub(super) async fn verify(
    config: &Config,
    store: &Store,
    arguments: &Verify,
) -> Result<(), Failure> {
    let keys = Keys::read(config, &arguments.ca_certificate).await?;
    let mut report = Report { json: arguments.json, ..Report::default() };
    let mut tables = match arguments.since {
        None => Some(Tables::read(store).await.map_err(Failure::failed)?),
        Some(_) => None,
    };
    let start = start(store, arguments.since).await?;
    let trail = store.trail().await.map_err(Failure::failed)?;
    let mut checkpoints = checkpoints(store, &keys, start.position, &mut report).await?;
    let checked = checkpoints.len();
    let newest = checkpoints.last_key_value().map(|(position, _)| *position);
    let (mut signed_at, mut sealed_at) = (None, None);
    let mut check = ChainCheck::after(start);
    let mut oldest_pending: Option<Timestamp> = None;
    let mut pending = 0_u64;
    let now = Clock::System.now();
    walk(store, check.head().position, |seen| {
        let (position, text, known) = match seen {
            Seen::Sealed { row, known } => {
                if let Some(found) = check.row(row) {
                    report.wrong(Some(row.position), &found.to_string());
                }
                sealed_at = time_of(&row.id);
                if newest == Some(row.position) {
                    signed_at = sealed_at;
                }
                let signed = checkpoints.remove(&row.position);
                if signed.is_some_and(|hash| hash != row.hash) {
                    let text = "the chain was written anew: it is not what the checkpoint of this \
                                entry signed";
                    report.wrong(Some(row.position), text);
                }
                if row.position == trail.head.position && row.hash != trail.head.hash {
                    let text =
                        "the hash of the last entry is not the one that was noted as the end";
                    report.wrong(Some(row.position), text);
                }
                report.entries += 1;
                (Some(row.position), row.entry.as_str(), known)
            }
            Seen::Pending { id, entry } => {
                pending += 1;
                let at = time_of(id).unwrap_or(Timestamp::from_unix_ms(0));
                oldest_pending = Some(oldest_pending.map_or(at, |oldest| oldest.min(at)));
                (None, entry, false)
            }
        };
        match serde_json::from_str::<Value>(text) {
            Ok(entry) => {
                if let (Some(tables), false) = (&mut tables, known) {
                    tables.entry(&entry);
                }
            }
            Err(_) => report.wrong(position, "the entry is not JSON: no kipuka wrote it"),
        }
    })
    .await
    .map_err(Failure::failed)?;

    let end = check.head().clone();
    if end.position < trail.head.position {
        let text = format!(
            "the trail ends with entry {}, and entry {} was there: the last ones were deleted",
            end.position, trail.head.position
        );
        report.wrong(Some(end.position + 1), &text);
    }
    // What others sealed meanwhile is noted in the same transaction.
    let now_noted = store.trail().await.map_err(Failure::failed)?.head.position;
    if end.position > now_noted {
        let text = format!(
            "entries {} to {} were put there: the end was noted before",
            now_noted + 1,
            end.position
        );
        report.wrong(Some(now_noted + 1), &text);
    }
    for position in checkpoints.into_keys().filter(|position| *position > end.position) {
        let text = format!(
            "a checkpoint of entry {position} was signed, and there is no such entry: the last ones were deleted"
        );
        report.wrong(Some(position), &text);
    }
    if arguments.since.is_none() {
        tell_of_unsigned(newest, end.position, signed_at, sealed_at, &mut report);
    }
    for file in &arguments.checkpoint {
        outside(store, &keys, file, &mut report).await?;
    }
    if let Some(oldest) = oldest_pending
        && now.since(oldest) > PENDING_AT_MOST
    {
        let text = format!(
            "{pending} entries wait to be sealed, the oldest since {oldest}: until then nothing \
             protects them; no instance seals, start one"
        );
        report.warning(&text);
    }
    let mut compared = None;
    if let Some(tables) = tables {
        tell_of_unaudited(&tables.unaudited, &mut report);
        compared = Some(tables.compared());
        for text in tables.disagreements(store).await.map_err(Failure::failed)? {
            report.wrong(None, &text);
        }
    }
    report.end(&end, checked, compared, pending, arguments.strict)
}

/// Where the check begins.
async fn start(store: &Store, since: Option<i64>) -> Result<Head, Failure> {
    let Some(since) = since else { return Ok(Head::genesis()) };
    let rows = store.sealed_entries(since - 1, 1).await.map_err(Failure::failed)?;
    let row = rows.into_iter().next().filter(|row| row.position == since);
    let row = row.ok_or_else(|| Failure::Failed(format!("there is no entry {since}")))?;
    Ok(Head { position: row.position, hash: row.hash })
}

/// What is signed, by position.
async fn checkpoints(
    store: &Store,
    keys: &Keys,
    after: i64,
    report: &mut Report,
) -> Result<BTreeMap<i64, String>, Failure> {
    let mut hashes = BTreeMap::new();
    let mut last = after;
    loop {
        let page = store.checkpoints(last, PAGE).await.map_err(Failure::failed)?;
        let Some(end) = page.last() else { return Ok(hashes) };
        last = end.position;
        for signed in &page {
            if let Some(head) = signed_head(keys, signed, report) {
                hashes.insert(head.position, head.hash);
            }
        }
    }
}

fn signed_head(keys: &Keys, signed: &SignedCheckpoint, report: &mut Report) -> Option<Head> {
    match keys.check(signed) {
        Ok((head, true)) => Some(head),
        Ok((head, false)) => {
            let text = format!(
                "the checkpoint of entry {} is signed by a key that is no configured CA's: if it was \
                 one's, give its certificate with --ca-certificate; else it is forged",
                head.position
            );
            report.wrong(Some(head.position), &text);
            None
        }
        Err(why) => {
            let text = format!("the checkpoint of entry {} is no good: {why}", signed.position);
            report.wrong(Some(signed.position), &text);
            None
        }
    }
}

/// A checkpoint that was kept elsewhere is what no change of the database can go round.
async fn outside(
    store: &Store,
    keys: &Keys,
    file: &std::path::Path,
    report: &mut Report,
) -> Result<(), Failure> {
    let signed = checkpoint::read(file)?;
    let Some(head) = signed_head(keys, &signed, report) else { return Ok(()) };
    let rows = store.sealed_entries(head.position - 1, 1).await.map_err(Failure::failed)?;
    let hash = rows.iter().find(|row| row.position == head.position).map(|row| &row.hash);
    if hash != Some(&head.hash) {
        let text = format!(
            "{} signs entry {}, and {}",
            file.display(),
            head.position,
            match hash {
                None => "there is no such entry: the last ones were deleted",
                Some(_) => "it has another hash here: the chain was written anew",
            }
        );
        report.wrong(Some(head.position), &text);
    }
    Ok(())
}

/// An id begins with the time of its entry.
fn time_of(id: &str) -> Option<Timestamp> {
    let ms = i64::from_str_radix(id.get(..12)?, 16).ok()?;
    Some(Timestamp::from_unix_ms(ms))
}

/// Whoever rewrites what no key has signed leaves no trace.
fn tell_of_unsigned(
    newest: Option<i64>,
    end: i64,
    signed_at: Option<Timestamp>,
    sealed_at: Option<Timestamp>,
    report: &mut Report,
) {
    let Some(newest) = newest else {
        if end > 0 {
            report.warning(
                "there is no checkpoint: no key vouches for the chain, and who can write to the \
                 database could have written it anew; a running server signs one within ten minutes",
            );
        }
        return;
    };
    let late = signed_at
        .zip(sealed_at)
        .is_some_and(|(signed, sealed)| sealed.since(signed) > UNSIGNED_AT_MOST);
    if late || end - newest > UNSIGNED_ENTRIES_AT_MOST {
        report.warning(&format!(
            "the newest checkpoint is of entry {newest}, and the trail ends with entry {end}: no key \
             vouches for what is between; checkpoints were deleted, or no CA's key signs"
        ));
    }
}

fn tell_of_unaudited(unaudited: &Unaudited, report: &mut Report) {
    let by = "by a release of kipuka that has no audit trail, or past kipuka: the trail says nothing \
              of them";
    if let Some((first, last)) = unaudited.issued {
        let count = unaudited.certificates;
        report.warning(&format!("{count} certificates were issued from {first} to {last} {by}"));
    }
    for (count, what) in [(unaudited.revocations, "revocations"), (unaudited.crls, "CRLs")] {
        if count > 0 {
            report.warning(&format!("{count} {what} were written {by}"));
        }
    }
}

/// What was found: a line each, as it is found, or JSON at the end.
#[derive(Default)]
struct Report {
    json: bool,
    entries: u64,
    wrong: u64,
    warnings: u64,
    findings: Vec<Value>,
}

impl Report {
    fn wrong(&mut self, position: Option<i64>, text: &str) {
        self.wrong += 1;
        self.tell("WRONG", position, text);
    }

    fn warning(&mut self, text: &str) {
        self.warnings += 1;
        self.tell("warning", None, text);
    }

    fn tell(&mut self, level: &str, position: Option<i64>, text: &str) {
        if !self.json {
            let place = position.map(|position| format!("entry {position}: ")).unwrap_or_default();
            say!("{level:8} {place}{text}");
        } else if self.findings.len() < KEPT {
            let level = level.to_lowercase();
            self.findings.push(json!({ "level": level, "position": position, "text": text }));
        }
    }

    fn end(
        self,
        end: &Head,
        checkpoints: usize,
        compared: Option<u64>,
        pending: u64,
        strict: bool,
    ) -> Result<(), Failure> {
        let bad = self.wrong > 0 || (strict && self.warnings > 0);
        let Head { position, hash } = end;
        let entries = self.entries;
        if self.json {
            print_json(&json!({
                "ok": !bad,
                "entries": entries,
                "pending": pending,
                "position": position,
                "hash": hash,
                "checkpoints": checkpoints,
                "compared": compared,
                "wrong": self.wrong,
                "warnings": self.warnings,
                "findings": self.findings,
            }))?;
        } else if !bad {
            say!(
                "ok       {entries} entries to {position}, whose hash is {hash}; {checkpoints} checkpoints"
            );
            if let Some(compared) = compared {
                say!(
                    "ok       the tables agree in {compared} facts: plans, certificates, revocations, CRLs"
                );
            }
        }
        if bad {
            let (wrong, warnings) = (self.wrong, self.warnings);
            let text =
                format!("the audit trail is not in order: {wrong} wrong, {warnings} warnings");
            return Err(Failure::Failed(text));
        }
        Ok(())
    }
}
