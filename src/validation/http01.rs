//! The HTTP challenge (RFC 8555 §8.3).
//!
//! The rules, which do not depend on the configuration: the first request goes over http; at
//! most ten redirects (301, 302, 303, 307, 308) are followed, to http and https URLs without
//! user information, on the http port or the https port; a certificate met on the way is not
//! verified; the address of every hop is checked against the denied networks; only status 200
//! counts; the body is the key authorization and nothing more, white space at its end aside.
//!
//! A problem goes to the client, which may have sent us where it cannot look itself. So of an answer that
//! came after a redirect only the status is told, and of a URL that such an answer led to, only the host.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use rustls::ClientConfig;
use tokio::time::Instant;
use url::Url;

use super::Attempt;
use super::dial::Dialer;
use super::fetch::{self, Answer, BodyEnd, MAX_BODY};
use super::outcome::{Evidence, Failure, counted, excerpt};
use crate::acme::problem::ProblemType;

const MAX_REDIRECTS: usize = 10;
const MAX_LOCATION: usize = 2048;

#[derive(Debug)]
pub(super) struct Http01 {
    pub(super) http_port: u16,
    pub(super) https_port: u16,
    pub(super) tls: Arc<ClientConfig>,
}

impl Http01 {
    pub(super) async fn prove(
        &self,
        dialer: &Dialer,
        attempt: &Attempt<'_>,
        deadline: Instant,
    ) -> Result<Evidence, Failure> {
        let start = self.challenge_url(attempt)?;
        let mut url = start.clone();
        for redirects in 0..=MAX_REDIRECTS {
            let after = |failure: Failure| match redirects {
                0 => failure,
                n => failure.during(format!("after {} from {start}", counted(n, "redirect"))),
            };
            let shown = if redirects < 2 { url.to_string() } else { origin(&url) };
            let hop = Hop { shown: &shown, redirected: redirects > 0 };
            let answer =
                fetch::get(dialer, &self.tls, &url, &shown, deadline).await.map_err(after)?;
            if !is_redirect(answer.status) {
                return judge(&hop, &answer, attempt.key_authorization)
                    .map(|()| Evidence { text: proof(&start, &url, redirects, &answer) })
                    .map_err(after);
            }
            url = self.target(&url, &hop, &answer).map_err(after)?;
        }
        Err(refused(format!(
            "GET {start}: more than {MAX_REDIRECTS} redirects; the last was to {}",
            origin(&url)
        )))
    }

    fn challenge_url(&self, attempt: &Attempt<'_>) -> Result<Url, Failure> {
        let (identifier, token) = (attempt.identifier, attempt.token);
        // An address is itself what is asked, and what the Host names (RFC 8738 §4).
        let name = match identifier.as_ip() {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => identifier.base().to_owned(),
        };
        let url = format!("http://{name}:{}/.well-known/acme-challenge/{token}", self.http_port);
        match Url::parse(&url) {
            // No identifier of type dns is a name that a URL reads as an IPv4 address; should one be,
            // DNS was to be asked.
            Ok(parsed) if parsed.host_str() == Some(&*name) => Ok(parsed),
            Ok(parsed) => {
                Err(refused(format!("GET {url}: a URL takes {name} for {:?}", parsed.host_str())))
            }
            Err(error) => Err(refused(format!("GET {url}: not a URL: {error}"))),
        }
    }

    /// Where a redirect leads, if it may be followed.
    fn target(&self, from: &Url, hop: &Hop<'_>, answer: &Answer) -> Result<Url, Failure> {
        let asked = |why: String| {
            let (shown, peer, status) = (hop.shown, answer.peer, answer.status);
            refused(format!("GET {shown} at {peer} answered {status}, {why}"))
        };
        let Some(location) = &answer.location else {
            return Err(asked("but with no Location".to_owned()));
        };
        let to = match hop.redirected {
            true => "a URL".to_owned(),
            false => excerpt(location.as_bytes()),
        };
        let not_followed = |why: &str| asked(format!("to {to}, which is not followed: {why}"));
        if location.len() > MAX_LOCATION {
            return Err(not_followed("it is too long"));
        }
        let location = location.to_str().map_err(|_| not_followed("it is not ASCII"))?;
        let mut url = from.join(location).map_err(|_| not_followed("it is not a URL"))?;
        let usual_port = match url.scheme() {
            "http" => self.http_port,
            "https" => self.https_port,
            _ => return Err(not_followed("only http and https are")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(not_followed("it has a user name or password"));
        }
        url.set_fragment(None);
        match url.port() {
            None => {
                // a URL with a host takes a port, and one that was joined to http has a host
                url.set_port(Some(usual_port)).map_err(|()| not_followed("it has no host"))?;
            }
            Some(port) if port == self.http_port || port == self.https_port => {}
            Some(_) => {
                let ports = format!("only ports {} and {} are", self.http_port, self.https_port);
                return Err(not_followed(&ports));
            }
        }
        Ok(url)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// One request on the way, as a problem may tell of it.
struct Hop<'a> {
    shown: &'a str,
    /// It is not the first.
    redirected: bool,
}

/// Where a URL leads, and no more of it.
fn origin(url: &Url) -> String {
    let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
    match url.port() {
        Some(port) => format!("{scheme}://{host}:{port}/…"),
        None => format!("{scheme}://{host}/…"),
    }
}

/// The last answer is status 200 with the key authorization.
fn judge(hop: &Hop<'_>, answer: &Answer, key_authorization: &str) -> Result<(), Failure> {
    let (peer, status) = (answer.peer, answer.status);
    let body = match hop.redirected {
        true => "a body that is not shown, as it came after a redirect".to_owned(),
        false => excerpt(&answer.body),
    };
    let asked = format!("GET {} at {peer} answered {status}", hop.shown);
    if status != StatusCode::OK {
        let detail = format!("{asked} with {body}");
        let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(if may_pass {
            Failure::unreachable(ProblemType::IncorrectResponse, detail)
        } else {
            refused(detail)
        });
    }
    match &answer.end {
        BodyEnd::Complete if answer.body.trim_ascii_end() == key_authorization.as_bytes() => Ok(()),
        BodyEnd::Complete => {
            Err(refused(format!("{asked} with {body}, but {key_authorization:?} is expected")))
        }
        BodyEnd::TooLong => {
            Err(refused(format!("{asked} with more than {MAX_BODY} octets, from {body}")))
        }
        BodyEnd::Broken(why) => Err(Failure::unreachable(
            ProblemType::Connection,
            format!("{asked} with {body}, but the body is incomplete: {why}"),
        )),
    }
}

fn proof(start: &Url, url: &Url, redirects: usize, answer: &Answer) -> String {
    let way = match redirects {
        0 => String::new(),
        n => format!(", {} from {start}", counted(n, "redirect")),
    };
    let body = excerpt(answer.body.trim_ascii_end());
    format!("GET {url} at {}{way}: {} with {body}", answer.peer, answer.status)
}

fn refused(detail: String) -> Failure {
    Failure::refused(ProblemType::IncorrectResponse, detail)
}

/// Judges an answer, and follows it where it leads.
#[cfg(fuzzing)]
pub(crate) fn fuzz(answer: &[u8]) {
    let Some(answer) = fetch::fuzz(answer) else { return };
    assert!(answer.body.len() <= MAX_BODY);
    let (Ok(tls), Ok(url)) =
        (super::tls::unverified(&super::tls::provider()), Url::parse("http://a.test/token"))
    else {
        return;
    };
    let http01 = Http01 { http_port: 80, https_port: 443, tls };
    let hop = Hop { shown: url.as_str(), redirected: false };
    if is_redirect(answer.status) {
        if let Ok(target) = http01.target(&url, &hop, &answer) {
            assert!(matches!(target.port_or_known_default(), Some(80 | 443)), "{target}");
            assert!(target.username().is_empty() && target.password().is_none(), "{target}");
        }
    } else if judge(&hop, &answer, "token.thumbprint").is_ok() {
        assert!(answer.body.starts_with(b"token.thumbprint"));
    }
}
