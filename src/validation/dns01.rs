//! The DNS challenge (RFC 8555 §8.4), and the one with a label of the account's own
//! (draft-ietf-acme-dns-account-label).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use openssl::sha::sha256;
use tokio::time::Instant;

use super::Attempt;
use super::dns::Resolver;
use super::outcome::{Evidence, Failure, counted, excerpt};
use crate::acme::challenge::ChallengeType;
use crate::acme::problem::ProblemType;

/// As many wrong values as a problem lists.
const LISTED: usize = 3;

/// Looks for the digest of the key authorization among the TXT records of `_acme-challenge.` and
/// the name, below the account's label where that is the method. Other values beside it are as they
/// should be: a name and its wildcard share the place, and so do several clients.
pub(super) async fn prove(
    resolver: &Resolver,
    attempt: &Attempt<'_>,
    deadline: Instant,
) -> Result<Evidence, Failure> {
    let mut name = format!("_acme-challenge.{}", attempt.identifier.base());
    if attempt.method == ChallengeType::DnsAccount01 {
        let Some(url) = attempt.account_url else {
            let why = "the account's URL, which the record's name is made of, is not known; \
                       place a new order";
            return Err(Failure::refused(ProblemType::Unauthorized, why));
        };
        name = format!("{}.{name}", account_label(url));
    }
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

/// `_` and the base32 of the first ten octets of the SHA-256 of the account's URL.
fn account_label(account_url: &str) -> String {
    let digest = sha256(account_url.as_bytes());
    format!("_{}", BASE32_NOPAD.encode(&digest[..10]).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_label_of_the_drafts_example_is_the_drafts() {
        let label = super::account_label("https://example.com/acme/acct/ExampleAccount");
        assert_eq!(label, "_ujmmovf2vn55tgye");
    }
}
