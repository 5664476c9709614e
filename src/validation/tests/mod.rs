//! Against real parts on the loopback: a DNS server, a web server, a TLS responder.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::*;
use crate::acme::problem::Problem;

mod caa;
mod denied;
mod dns01;
mod dns_persist01;
mod dnssec;
mod http01;
mod ip;
mod responder;
mod tls_alpn01;
mod web;
mod zone;

use web::Web;
use zone::Zone;

const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
const ACCOUNT: &str = "https://ca.test/acme/ca/account/1";
const ISSUER: &str = "ca.test";
const NOW: Timestamp = Timestamp::from_unix_s(1_800_000_000);
const KEY_AUTHORIZATION: &str =
    "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

fn identifier(name: &str) -> Identifier {
    Identifier::from_text(name).unwrap()
}

/// Short times, so that what never answers is a quick test.
fn options(resolver: SocketAddr) -> Options {
    Options {
        resolvers: vec![resolver],
        timeouts: Timeouts {
            attempt: Duration::from_millis(1500),
            connect: Duration::from_millis(300),
            query: Duration::from_millis(500),
        },
        ..Options::default()
    }
}

async fn attempt(options: Options, method: ChallengeType, name: &str) -> Outcome {
    let validator = Validator::new(options).unwrap();
    let identifier = identifier(name);
    let attempt = Attempt {
        method,
        identifier: &identifier,
        token: TOKEN,
        key_authorization: KEY_AUTHORIZATION,
        account_url: Some(ACCOUNT),
        issuers: &[ISSUER.to_owned(), "second.test".to_owned()],
        now: NOW,
    };
    validator.validate(attempt).await
}

#[track_caller]
fn proved(outcome: Outcome) -> String {
    match outcome {
        Outcome::Proved(evidence) => evidence.text,
        other => panic!("not proved: {other:?}"),
    }
}

#[track_caller]
fn refused(outcome: Outcome, kind: ProblemType) -> String {
    match outcome {
        Outcome::Refused(Problem { kind: found, detail, .. }) if found == kind => detail,
        other => panic!("not refused as {kind:?}: {other:?}"),
    }
}

#[track_caller]
fn unreachable(outcome: Outcome, kind: ProblemType) -> String {
    match outcome {
        Outcome::Unreachable(Problem { kind: found, detail, .. }) if found == kind => detail,
        other => panic!("not unreachable as {kind:?}: {other:?}"),
    }
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
