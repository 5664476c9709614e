//! An authenticated request (RFC 8555 §6.2 to §6.5).

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::Acme;
use super::authenticate::{by_account, by_key};
use super::object::Object;
use super::problem::AcmeError;
use super::resource::Resource;
use crate::acme::account::Account;
use crate::acme::problem::{Problem, ProblemType};
use crate::flow::{Error, check_terms};
use crate::jose::check_object;
use crate::jose::jwk::Jwk;
use crate::jose::jws::{self, Jws, JwsError, KeyReference};
use crate::jose::verify::Algorithm;

/// What the body of a request holds.
pub(super) trait Payload: Sized {
    fn read(bytes: &[u8]) -> Result<Self, Problem>;
}

/// Nothing: a POST-as-GET (RFC 8555 §6.3).
#[derive(Debug)]
pub(super) struct AsGet;

impl Payload for AsGet {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self);
        }
        Err(Problem::malformed(
            "this resource is only read: the payload must be empty (POST-as-GET)",
        ))
    }
}

impl<T: DeserializeOwned> Payload for Object<T> {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Err(Problem::malformed("the payload is empty where an object is wanted"));
        }
        check_object(bytes)
            .and_then(|()| serde_json::from_slice(bytes))
            .map_err(|error| Problem::malformed(format!("the payload cannot be read: {error}")))
    }
}

/// A JSON object, or nothing.
impl<T: DeserializeOwned> Payload for Option<Object<T>> {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() { Ok(None) } else { Object::read(bytes).map(Some) }
    }
}

/// Bytes that the handler reads.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl Payload for Raw {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        Ok(Self(bytes.to_vec()))
    }
}

/// A request signed by an account: exists only where the signature, the URL, the nonce and the
/// account are right, and the account has agreed to the terms of service as they are now.
pub(super) struct AcmeRequest<P> {
    pub(super) resource: Resource,
    pub(super) account: Account,
    pub(super) payload: P,
    _private: (),
}

/// As [`AcmeRequest`], whatever terms the account has agreed to: for what it may do before it agrees to
/// new ones (RFC 8555 §7.3.3), such as agreeing, and for what makes things safer.
pub(super) struct AccountRequest<P> {
    pub(super) resource: Resource,
    pub(super) account: Account,
    pub(super) payload: P,
    /// As the JWS gives it, which is that of the resource.
    pub(super) url: String,
    _private: (),
}

/// As [`AcmeRequest`], but signed by a key that need not have an account (RFC 8555 §7.3).
pub(super) struct KeyRequest<P> {
    pub(super) resource: Resource,
    pub(super) key: Jwk,
    pub(super) payload: P,
    /// As the JWS gives it, which is that of the resource.
    pub(super) url: String,
    _private: (),
}

/// As [`AcmeRequest`], but signed by an account or by a key (RFC 8555 §7.6).
pub(super) struct SignedRequest<P> {
    pub(super) resource: Resource,
    pub(super) signed_by: SignedBy,
    pub(super) payload: P,
    _private: (),
}

/// What a request was signed with.
pub(super) enum SignedBy {
    Account(Account),
    Key(Jwk),
}

impl<P: Payload> FromRequest<Arc<Acme>> for SignedRequest<P> {
    type Rejection = AcmeError;

    async fn from_request(request: Request, acme: &Arc<Acme>) -> Result<Self, AcmeError> {
        let Received { resource, jws } = receive(acme, request).await?;
        let (signed_by, jws) = match jws.key() {
            KeyReference::Kid(_) => {
                let (account, jws) = by_account(acme, &resource, jws).await?;
                (SignedBy::Account(account), jws)
            }
            KeyReference::Jwk(key) => {
                let key = key.clone();
                let jws = by_key(acme, &resource, &key, jws).await?;
                (SignedBy::Key(key), jws)
            }
        };
        let payload = P::read(jws.payload())?;
        Ok(Self { resource, signed_by, payload, _private: () })
    }
}

impl<P: Payload> FromRequest<Arc<Acme>> for AcmeRequest<P> {
    type Rejection = AcmeError;

    async fn from_request(request: Request, acme: &Arc<Acme>) -> Result<Self, AcmeError> {
        let request = AccountRequest::from_request(request, acme).await?;
        check_terms(&request.resource.authority, &request.account)?;
        let AccountRequest { resource, account, payload, .. } = request;
        Ok(Self { resource, account, payload, _private: () })
    }
}

impl<P: Payload> FromRequest<Arc<Acme>> for AccountRequest<P> {
    type Rejection = AcmeError;

    async fn from_request(request: Request, acme: &Arc<Acme>) -> Result<Self, AcmeError> {
        let Received { resource, jws } = receive(acme, request).await?;
        let KeyReference::Kid(_) = jws.key() else {
            return Err(
                Problem::malformed("sign this request with \"kid\", the account's URL").into()
            );
        };
        let (account, jws) = by_account(acme, &resource, jws).await?;
        let payload = P::read(jws.payload())?;
        Ok(Self { resource, account, payload, url: jws.url().to_owned(), _private: () })
    }
}

impl<P: Payload> FromRequest<Arc<Acme>> for KeyRequest<P> {
    type Rejection = AcmeError;

    async fn from_request(request: Request, acme: &Arc<Acme>) -> Result<Self, AcmeError> {
        let Received { resource, jws } = receive(acme, request).await?;
        let KeyReference::Jwk(key) = jws.key() else {
            return Err(
                Problem::malformed("sign this request with \"jwk\", the account's key").into()
            );
        };
        let key = key.clone();
        let jws = by_key(acme, &resource, &key, jws).await?;
        let payload = P::read(jws.payload())?;
        Ok(Self { resource, key, payload, url: jws.url().to_owned(), _private: () })
    }
}

/// A well-formed request, of which nothing is proved yet.
struct Received {
    resource: Resource,
    jws: Jws,
}

async fn receive(acme: &Acme, request: Request) -> Result<Received, AcmeError> {
    let Some(resource) = request.extensions().get::<Resource>().cloned() else {
        return Err(Error::Failed("a route without its CA".to_owned()).into());
    };
    check_content_type(request.headers())?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // Nested routers see the path without its prefix; the original is what the client asked for.
    let original = request.extensions().get::<axum::extract::OriginalUri>();
    let target =
        original.and_then(|uri| uri.0.path_and_query()).map_or(target, |target| target.as_str());
    let url = resource.links.absolute(target);
    let body = acme.bodies.read(request).await?;
    let jws = jws::parse(&body).map_err(|error| problem_of(&error))?;
    if jws.url() != url {
        let detail = format!("the JWS is for the URL {:?}, but was sent to {url:?}", jws.url());
        return Err(Problem::new(ProblemType::Unauthorized, detail).into());
    }
    Ok(Received { resource, jws })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/jose+json") {
        return Ok(());
    }
    let detail = "the Content-Type must be application/jose+json (RFC 8555 §6.2)";
    Err(Problem::malformed(detail).with_status(415))
}

/// The problem type that RFC 8555 gives to a JWS that cannot be accepted.
pub(super) fn problem_of(error: &JwsError) -> Problem {
    let detail = error.to_string();
    match error {
        JwsError::UnsupportedAlgorithm { .. } => {
            let algorithms = Algorithm::ALL.iter().map(|algorithm| algorithm.as_str().to_owned());
            let problem = Problem::new(ProblemType::BadSignatureAlgorithm, detail);
            Problem { algorithms: algorithms.collect(), ..problem }
        }
        JwsError::BadKey(_) => Problem::new(ProblemType::BadPublicKey, detail),
        _ => Problem::malformed(detail),
    }
}
