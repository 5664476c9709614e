//! The DNS challenge (RFC 8555 §8.4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::sha::sha256;
use tokio::time::Instant;

use super::Attempt;
use super::dns::Resolver;
use super::outcome::{Evidence, Failure, counted, excerpt};
use crate::acme::problem::ProblemType;

/// As many wrong values as a problem lists.
const LISTED: usize = 3;

/// Looks for the digest of the key authorization among the TXT records of `_acme-challenge.` and
/// the name. Other values beside it are as they should be: a name and its wildcard share the
/// place, and so do several clients.
pub(super) async fn prove(
    resolver: &Resolver,
    attempt: &Attempt<'_>,
    deadline: Instant,
) -> Result<Evidence, Failure> {
    let name = format!("_acme-challenge.{}", attempt.identifier.base());
    let digest = URL_SAFE_NO_PAD.encode(sha256(attempt.key_authorization.as_bytes()));
    let answer = resolver.txt(&name, deadline).await?;
    let dnssec = if answer.authentic { ", proved by DNSSEC" } else { "" };
    if answer.values.iter().any(|value| value == digest.as_bytes()) {
        return Ok(Evidence {
            text: format!(
                "DNS TXT {name}: {} answered {}, {digest} among them{dnssec}",
                answer.server,
                counted(answer.values.len(), "value"),
            ),
        });
    }
    let mut found: Vec<String> =
        answer.values.iter().take(LISTED).map(|value| excerpt(value)).collect();
    if answer.values.len() > LISTED {
        found.push(format!("{} more", answer.values.len() - LISTED));
    }
    Err(Failure::refused(
        ProblemType::IncorrectResponse,
        format!(
            "DNS TXT {name}: {} answered {}, but {digest:?} is expected",
            answer.server,
            found.join(", "),
        ),
    ))
}
