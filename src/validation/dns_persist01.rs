//! The persistent DNS challenge (draft-sheurich-acme-dns-persist): a TXT record that stays, and names
//! the CA and the account.

use tokio::time::Instant;

use super::Attempt;
use super::dns::Resolver;
use super::issue_value::IssueValue;
use super::outcome::{Evidence, Failure, counted, excerpt};
use crate::acme::problem::ProblemType;
use crate::clock::Timestamp;

/// As many records as a problem says why they prove nothing.
const LISTED: usize = 3;

/// Looks for a record of `_validation-persist.` and the name that names one of the CA's issuer domain
/// names and this account. Records for other issuers beside it are ignored.
pub(super) async fn prove(
    resolver: &Resolver,
    attempt: &Attempt<'_>,
    deadline: Instant,
) -> Result<Evidence, Failure> {
    let name = format!("_validation-persist.{}", attempt.identifier.base());
    let answer = resolver.txt(&name, deadline).await?;
    let dnssec = if answer.authentic { ", proved by DNSSEC" } else { "" };
    let found = format!(
        "DNS TXT {name}: {} answered {}",
        answer.server,
        counted(answer.values.len(), "value")
    );
    let mut flaws = Vec::new();
    for value in &answer.values {
        match judge(value, attempt) {
            None => {}
            Some(Ok(())) => {
                let text = format!("{found}, {} among them{dnssec}", excerpt(value));
                return Ok(Evidence { text });
            }
            Some(Err((kind, why))) => flaws.push((kind, format!("{} {why}", excerpt(value)))),
        }
    }
    if flaws.is_empty() {
        let issuers = attempt.issuers.join(" or ");
        let detail = format!("{found}, none of which is for the issuer {issuers}");
        return Err(Failure::refused(ProblemType::Unauthorized, detail));
    }
    // A record that says whom it is for, and not us, tells more than one that cannot be read.
    let kind = flaws
        .iter()
        .map(|(kind, _)| *kind)
        .find(|kind| *kind == ProblemType::Unauthorized)
        .unwrap_or(ProblemType::Malformed);
    let whys: Vec<String> = flaws.into_iter().take(LISTED).map(|(_, why)| why).collect();
    Err(Failure::refused(kind, format!("{found}, none of which proves it: {}", whys.join("; "))))
}

/// `None`: a record that is none of ours. Otherwise whether it proves the name, or what is wrong with it.
fn judge(value: &[u8], attempt: &Attempt<'_>) -> Option<Result<(), (ProblemType, String)>> {
    let Some(parsed) = IssueValue::parse(value) else {
        // Meant for us, as far as one can tell, but misspelt: that is worth saying.
        return meant_for(value, attempt.issuers).then(|| {
            Err((ProblemType::Malformed, "is no issue-value (RFC 8659 §4.2)".to_owned()))
        });
    };
    parsed.names(attempt.issuers).then(|| restrictions(&parsed, attempt))
}

/// Whether what cannot be read begins with the name of one of these issuers.
fn meant_for(value: &[u8], issuers: &[String]) -> bool {
    let head = value.split(|&b| b == b';').next().unwrap_or(value).trim_ascii();
    issuers.iter().any(|issuer| head.eq_ignore_ascii_case(issuer.as_bytes()))
}

fn restrictions(
    value: &IssueValue<'_>,
    attempt: &Attempt<'_>,
) -> Result<(), (ProblemType, String)> {
    let malformed = |why: &str| (ProblemType::Malformed, why.to_owned());
    let unauthorized = |why: String| (ProblemType::Unauthorized, why);
    let once = |tag: &str| {
        value.parameter(tag).map_err(|_| malformed(&format!("has {tag} more than once")))
    };
    let account = once("accounturi")?.ok_or_else(|| malformed("has no accounturi"))?;
    let until = once("persistUntil")?;
    let policy = once("policy")?;
    if let Some(until) = until {
        let seconds = Some(until)
            .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse::<i64>().ok())
            .ok_or_else(|| malformed("has a persistUntil that is not a number of seconds"))?;
        if attempt.now > Timestamp::from_unix_s(seconds) {
            return Err(unauthorized("is past its persistUntil".to_owned()));
        }
    }
    match attempt.account_url {
        Some(url) if url == account => {}
        Some(url) => return Err(unauthorized(format!("is for another account than {url}"))),
        None => return Err(unauthorized("is for an account, and ours is not known".to_owned())),
    }
    let wide = policy.is_some_and(|policy| policy.eq_ignore_ascii_case("wildcard"));
    if attempt.identifier.is_wildcard() && !wide {
        let why = "lacks policy=wildcard, which a wildcard needs".to_owned();
        return Err(unauthorized(why));
    }
    Ok(())
}
