//! Whether the tables hold what the trail says was signed and revoked, and nothing else.
//!
//! Both are read once, in bounded memory: sums of digests are compared. Where they differ both are read
//! once more, and what is in the buckets that differ is compared one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::walk::{PAGE, Seen, walk};
use crate::clock::Timestamp;
use crate::ledger::{Kind, Tally, bucket};
use crate::store::{AuditedCertificate, AuditedCrl, AuditedRevocation, Store, StoreError};
use crate::x509::revocation_list::Reason;

/// What was read of the tables, before the trail was.
pub(super) struct Tables {
    tally: Tally,
    of_trail: Tally,
    crls: HashMap<String, String>,
    /// Rows that releases without the trail wrote.
    pub(super) unaudited: Unaudited,
    altered_crls: Vec<String>,
}

#[derive(Default)]
pub(super) struct Unaudited {
    pub(super) certificates: u64,
    pub(super) issued: Option<(Timestamp, Timestamp)>,
    pub(super) revocations: u64,
    pub(super) crls: u64,
}

fn planned(row: &AuditedCertificate) -> String {
    format!("planned {} {} {}", row.ca, row.serial, row.tbs_sha256)
}

fn issued(row: &AuditedCertificate) -> Option<String> {
    let sha256 = row.sha256.as_ref()?;
    Some(format!("issued {} {} {} {sha256}", row.ca, row.serial, row.tbs_sha256))
}

fn revoked(row: &AuditedRevocation) -> String {
    let reason = Reason::from_code(row.reason).map_or("unknown", Reason::name);
    format!("revoked {} {} {reason}", row.ca, row.serial)
}

fn crl(row: &AuditedCrl) -> String {
    format!("crl {} {}", row.issuer, row.number)
}

/// What an entry says that a table must hold.
fn item_of(entry: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (kind, subject) = (entry["kind"].as_str()?, text(&entry["subject"])?);
    let details = &entry["details"];
    let ca = text(&entry["ca"]);
    let is = |wanted: Kind| kind == wanted.as_str();
    if is(Kind::CertificatePlanned) {
        return Some(format!("planned {} {subject} {}", ca?, text(&details["tbs_sha256"])?));
    }
    if is(Kind::CertificateIssued) {
        let (tbs, sha256) = (text(&details["tbs_sha256"])?, text(&details["sha256"])?);
        return Some(format!("issued {} {subject} {tbs} {sha256}", ca?));
    }
    if is(Kind::CertificateRevoked) {
        return Some(format!("revoked {} {subject} {}", ca?, text(&details["reason"])?));
    }
    is(Kind::CrlIssued).then(|| format!("crl {subject} {}", details["number"]))
}

impl Tables {
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let mut tables = Self {
            tally: Tally::new(),
            of_trail: Tally::new(),
            crls: HashMap::new(),
            unaudited: Unaudited::default(),
            altered_crls: Vec::new(),
        };
        let (mut tally, mut unaudited) = (Tally::new(), Unaudited::default());
        each_row(
            store,
            |item| tally.add(&item),
            |row| match row {
                Other::Certificate(at) => {
                    unaudited.certificates += 1;
                    let (first, last) = unaudited.issued.unwrap_or((at, at));
                    unaudited.issued = Some((first.min(at), last.max(at)));
                }
                Other::Revocation => unaudited.revocations += 1,
                Other::Crl => unaudited.crls += 1,
                Other::CrlBytes { item, sha256 } => drop(tables.crls.insert(item, sha256)),
            },
        )
        .await?;
        Ok(Self { tally, unaudited, ..tables })
    }

    /// Takes an entry of the trail.
    pub(super) fn entry(&mut self, entry: &Value) {
        let Some(item) = item_of(entry) else { return };
        self.of_trail.add(&item);
        if let Some(sha256) = self.crls.get(&item)
            && entry["details"]["sha256"] != sha256.as_str()
        {
            self.altered_crls.push(item);
        }
    }

    /// How many facts of the tables were compared.
    pub(super) fn compared(&self) -> u64 {
        self.tally.items()
    }

    /// What does not agree, each in words.
    pub(super) async fn disagreements(self, store: &Store) -> Result<Vec<String>, StoreError> {
        let mut found: Vec<String> = self.altered_crls.iter().map(|item| altered(item)).collect();
        let differing = self.tally.differing(&self.of_trail);
        if differing.is_empty() {
            return Ok(found);
        }
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let wanted = |item: &String| differing.contains(&bucket(item));
        let mut in_tables = Vec::new();
        each_row(store, |item| in_tables.extend(Some(item).filter(wanted)), |_| {}).await?;
        for item in in_tables {
            *counts.entry(item).or_default() += 1;
        }
        walk(store, 0, |seen| {
            let entry = match seen {
                Seen::Sealed { known: true, .. } => return,
                Seen::Sealed { row, .. } => row.entry.as_str(),
                Seen::Pending { entry, .. } => entry,
            };
            let item = serde_json::from_str(entry).ok().and_then(|entry| item_of(&entry));
            if let Some(item) = item.filter(wanted) {
                *counts.entry(item).or_default() -= 1;
            }
        })
        .await?;
        let mut told = BTreeSet::new();
        for (item, _) in counts.iter().filter(|(_, count)| **count < 0) {
            if let Some(words) = not_in_tables(store, item).await? {
                told.insert(what(item));
                found.push(words);
            }
        }
        for (item, _) in counts.iter().filter(|(_, count)| **count > 0) {
            if !told.contains(&what(item)) {
                found.push(format!(
                    "{} is in its table, and the trail has no entry of it",
                    name(item)
                ));
            }
        }
        Ok(found)
    }
}

/// What is in a table and not compared by sums.
enum Other {
    Certificate(Timestamp),
    Revocation,
    Crl,
    CrlBytes { item: String, sha256: String },
}

async fn each_row(
    store: &Store,
    mut show: impl FnMut(String),
    mut other: impl FnMut(Other),
) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let rows = store.audited_certificates(&after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.id);
        for row in &rows {
            if row.plan_audited {
                show(planned(row));
            }
            match (issued(row), row.issued_at) {
                (Some(issued), _) if row.issue_audited => show(issued),
                (Some(_), Some(at)) => other(Other::Certificate(at)),
                _ => {}
            }
        }
    }
    let mut after = String::new();
    loop {
        let rows = store.audited_revocations(&after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.certificate_id);
        for row in &rows {
            if row.audited { show(revoked(row)) } else { other(Other::Revocation) }
        }
    }
    let mut after = (String::new(), 0);
    loop {
        let rows = store.audited_crls((&after.0, after.1), PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = (last.issuer.clone(), last.number);
        for row in rows {
            let item = crl(&row);
            if !row.audited {
                other(Other::Crl);
                continue;
            }
            if let Some(sha256) = row.sha256 {
                other(Other::CrlBytes { item: item.clone(), sha256 });
            }
            show(item);
        }
    }
}

/// What the tables hold in the place of what the trail says; `None` where it is there after all: it came
/// while this ran.
async fn not_in_tables(store: &Store, item: &str) -> Result<Option<String>, StoreError> {
    let words: Vec<_> = item.split(' ').collect();
    let &[kind, of, which, ..] = words.as_slice() else { return Ok(None) };
    let (there, marked) = match kind {
        "planned" | "issued" => {
            let row = store.audited_certificate(of, which).await?;
            let marked = row.as_ref().is_some_and(|row| match kind {
                "planned" => row.plan_audited,
                _ => row.issue_audited,
            });
            let there = row.and_then(|row| match kind {
                "planned" => Some(planned(&row)),
                _ => issued(&row),
            });
            (there, marked)
        }
        "revoked" => {
            let row = store.audited_revocation(of, which).await?;
            let marked = row.as_ref().is_some_and(|row| row.audited);
            (row.as_ref().map(revoked), marked)
        }
        _ => {
            let row = store.audited_crl(of, which.parse().unwrap_or(-1)).await?;
            let marked = row.as_ref().is_some_and(|row| row.audited);
            (row.as_ref().map(crl), marked)
        }
    };
    Ok(match there {
        None => {
            Some(format!("{} is in the trail, and not in its table: it was deleted", name(item)))
        }
        Some(there) if there != item => Some(altered(item)),
        Some(_) if !marked => Some(format!(
            "{} is in the trail, and its row says that it is not: the row was altered",
            name(item)
        )),
        Some(_) => None,
    })
}

fn altered(item: &str) -> String {
    format!("{} is not what the trail says: the row was altered", name(item))
}

/// The kind and the subject: what two items are about that differ in the rest alone.
fn what(item: &str) -> String {
    item.splitn(4, ' ').take(3).collect::<Vec<_>>().join(" ")
}

fn name(item: &str) -> String {
    let words: Vec<_> = item.split(' ').collect();
    match words.as_slice() {
        ["crl", issuer, number] => format!("CRL {number} of the issuer {issuer}"),
        ["planned", ca, serial, ..] => format!("the plan of certificate {serial} of CA {ca:?}"),
        ["revoked", ca, serial, ..] => {
            format!("the revocation of certificate {serial} of CA {ca:?}")
        }
        [_, ca, serial, ..] => format!("certificate {serial} of CA {ca:?}"),
        _ => item.to_owned(),
    }
}
