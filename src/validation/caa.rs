//! Certification Authority Authorization (RFC 8659), with accounts and methods (RFC 8657).

use tokio::time::Instant;

use super::dns::{Answer, CaaRecord, Resolver};
use super::issue_value::IssueValue;
use super::outcome::{Evidence, Failure, counted, excerpt};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::problem::ProblemType;

/// As many records as a problem says why they do not help.
const LISTED: usize = 3;

/// Whether a CA may issue for a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaaQuestion<'a> {
    pub(crate) identifier: &'a Identifier,
    /// The issuer domain names of the CA, in lower case.
    pub(crate) issuers: &'a [String],
    /// What an `accounturi` must be (RFC 8657 §3).
    pub(crate) account_url: Option<&'a str>,
    /// What `validationmethods` must list (RFC 8657 §4).
    pub(crate) method: ChallengeType,
}

/// Finds the relevant records (RFC 8659 §3) and lets them decide.
pub(super) async fn check(
    resolver: &Resolver,
    question: &CaaQuestion<'_>,
    deadline: Instant,
) -> Result<Evidence, Failure> {
    let base = question.identifier.base();
    let Some((owner, answer)) = relevant(resolver, base, deadline).await? else {
        return Ok(Evidence { text: format!("CAA: no records for {base} or above it") });
    };
    let found = format!(
        "CAA {owner}: {} answered {}",
        answer.server,
        counted(answer.values.len(), "record")
    );
    let dnssec = if answer.authentic { ", proved by DNSSEC" } else { "" };
    match judge(&answer.values, question) {
        Ok(why) => Ok(Evidence { text: format!("{found}{dnssec}: {why}") }),
        Err(why) => Err(Failure::refused(
            ProblemType::Caa,
            format!("{found}, which do not let this CA issue for {}: {why}", question.identifier),
        )),
    }
}

/// The first name, from `base` up to the last label before the root, that has CAA records. Aliases are
/// followed at each step; what is above an alias's target is of no concern (RFC 8659 §3).
async fn relevant<'a>(
    resolver: &Resolver,
    base: &'a str,
    deadline: Instant,
) -> Result<Option<(&'a str, Answer<CaaRecord>)>, Failure> {
    let mut name = base;
    loop {
        match resolver.caa(name, deadline).await {
            Ok(answer) => return Ok(Some((name, answer))),
            Err(error) if error.is_answer() => {}
            Err(error) => return Err(error.into()),
        }
        match name.split_once('.') {
            Some((_, parent)) => name = parent,
            None => return Ok(None),
        }
    }
}

/// What permits it, or else what stands against it.
fn judge(records: &[CaaRecord], question: &CaaQuestion<'_>) -> Result<String, String> {
    if let Some(unknown) = records.iter().find(|record| record.critical && !is_understood(record)) {
        let tag = excerpt(unknown.tag.as_bytes());
        return Err(format!("{tag} is critical, and this CA does not know what it means"));
    }
    let of = |tag: &str| records.iter().filter(|record| record.tag == tag).collect::<Vec<_>>();
    let mut properties = Vec::new();
    if question.identifier.is_wildcard() {
        properties = of("issuewild");
    }
    if properties.is_empty() {
        properties = of("issue");
    }
    if properties.is_empty() {
        return Ok("none of them restricts who may issue".to_owned());
    }
    let mut against = Vec::new();
    for property in &properties {
        let shown = format!("{} {}", property.tag, excerpt(&property.value));
        match permits(&property.value, question) {
            Ok(()) => return Ok(format!("{shown} permits it")),
            Err(why) => against.push(format!("{shown} {why}")),
        }
    }
    if against.len() > LISTED {
        let more = against.len() - LISTED;
        against.truncate(LISTED);
        against.push(format!("{more} more"));
    }
    Err(against.join("; "))
}

/// Tags whose meaning is known: those that decide here, where to report to, and who may issue for mail
/// (RFC 9495), which is another matter.
fn is_understood(record: &CaaRecord) -> bool {
    matches!(record.tag.as_str(), "issue" | "issuewild" | "iodef" | "issuemail")
}

fn permits(value: &[u8], question: &CaaQuestion<'_>) -> Result<(), String> {
    let Some(value) = IssueValue::parse(value) else {
        return Err("is malformed, and so permits nobody".to_owned());
    };
    if !value.names(question.issuers) {
        return Err(format!("does not name {}", question.issuers.join(" or ")));
    }
    let ambiguous = |tag: &str| format!("has {tag} more than once");
    match value.parameter("accounturi").map_err(|_| ambiguous("accounturi"))? {
        None => {}
        // Compared letter by letter (RFC 3986 §6.2.1).
        Some(uri) if Some(uri) == question.account_url => {}
        Some(_) => {
            return Err(match question.account_url {
                Some(url) => format!("is for another account than {url}"),
                None => "is for one account, and the URL of this one is not known".to_owned(),
            });
        }
    }
    match value.parameter("validationmethods").map_err(|_| ambiguous("validationmethods"))? {
        None => Ok(()),
        Some(methods) if methods.split(',').any(|one| one.trim().is_empty()) => {
            Err("has malformed validationmethods".to_owned())
        }
        Some(methods) if methods.split(',').any(|one| one == question.method.as_str()) => Ok(()),
        Some(_) => Err(format!("does not allow {}, which was used", question.method.as_str())),
    }
}
