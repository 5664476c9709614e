//! One entry: a decision.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;

/// Details beyond this are left out, but for their digest: evidence is bounded where it is gathered,
/// and this is so that no entry can be large whatever is added to it.
const MAX_DETAILS: usize = 32 * 1024;
/// Of one text in the details, so much is kept, in characters.
const MAX_TEXT: usize = 4096;

macro_rules! kinds {
    ($($(#[doc = $meaning:literal])* $variant:ident = $name:literal,)+) => {
        /// What was decided.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Kind {
            $($(#[doc = $meaning])* $variant,)+
        }

        impl Kind {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As entries name it.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// An account was made; the subject of all of `account.` is its id.
    AccountCreated = "account.created",
    /// Its contacts or its agreement to terms.
    AccountUpdated = "account.updated",
    /// The account has another key (RFC 8555 §7.3.5).
    AccountKeyChanged = "account.key-changed",
    AccountDeactivated = "account.deactivated",
    /// A key that binds accounts was made (RFC 8555 §7.3.4); the subject is its identifier.
    ExternalAccountCreated = "external-account.created",
    ExternalAccountRevoked = "external-account.revoked",
    /// The subject of all of `order.` is the order's id.
    OrderCreated = "order.created",
    /// The order is invalid: its certificate must not or cannot be issued.
    OrderFailed = "order.failed",
    /// An authorization that no order asked for (RFC 8555 §7.4.1); the subject of all of `authorization.`
    /// is its id.
    AuthorizationCreated = "authorization.created",
    /// A challenge was proved, with the evidence.
    AuthorizationValid = "authorization.valid",
    /// A challenge failed, with the problem.
    AuthorizationInvalid = "authorization.invalid",
    AuthorizationDeactivated = "authorization.deactivated",
    /// CAA records were asked (RFC 8659); the subject is the name.
    CaaChecked = "caa.checked",
    /// What is to be signed is stored; the subject of all of `certificate.` is the serial.
    CertificatePlanned = "certificate.planned",
    /// A key of a CA signed a certificate.
    CertificateIssued = "certificate.issued",
    CertificateRevoked = "certificate.revoked",
    /// The subject of all of `crl.` is the issuer, by the SHA-256 of its name.
    CrlPlanned = "crl.planned",
    /// A key of a CA signed a CRL.
    CrlIssued = "crl.issued",
    /// A client was refused; the subject is what it asked for. Of all refusals, so many are noted.
    RequestRefused = "request.refused",
    /// So many more were refused and not noted one by one.
    RequestsRefused = "requests.refused",
    /// The server serves, with this configuration; the subject of all of `instance.` is the version.
    InstanceStarted = "instance.started",
    InstanceStopped = "instance.stopped",
    /// Another configuration was taken over.
    InstanceReloaded = "instance.reloaded",
    /// Another configuration had a mistake in it; the one before goes on.
    InstanceReloadRefused = "instance.reload-refused",
    /// A CA's key does not sign any more, and why: a refused PIN, a token that is away. The subject of all
    /// of `key.` is the key, as it is configured.
    KeyLost = "key.lost",
    KeyFound = "key.found",
    /// `kipuka hsm keygen`.
    KeyGenerated = "key.generated",
    /// A ceremony: the key signed a CA's certificate or a request for one.
    KeyUsed = "key.used",
}

/// Who decided, or asked for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// By its id.
    Account(String),
    /// Whoever holds the key of the certificate that is to be revoked.
    CertificateKey,
    /// Whoever signed with a key that has no account.
    Stranger,
    /// On the command line, as the system knows the user.
    Operator(String),
    /// Nobody asked: a validation, an issuance, a CRL whose time had come.
    Kipuka,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account {id}"),
            Self::CertificateKey => f.write_str("the certificate's key"),
            Self::Stranger => f.write_str("a stranger"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Kipuka => f.write_str("kipuka"),
        }
    }
}

/// A decision, as it is noted. No secret is ever among the details: of keys, thumbprints and digests.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) actor: Actor,
    /// The id of the `[[ca]]`.
    pub(crate) ca: Option<String>,
    /// What it is about; the kind says what that is.
    pub(crate) subject: String,
    details: Map<String, Value>,
}

impl Entry {
    pub(crate) fn new(kind: Kind, actor: Actor, subject: impl Into<String>, at: Timestamp) -> Self {
        Self { at, kind, actor, ca: None, subject: subject.into(), details: Map::new() }
    }

    pub(crate) fn ca(mut self, id: &str) -> Self {
        self.ca = Some(id.to_owned());
        self
    }

    /// Adds a detail, unless it is null.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.details.insert(name.to_owned(), bounded(value));
        }
        self
    }

    /// The text that is stored, hashed and never changed: JSON in one line, its members in this order.
    pub(crate) fn text(&self, instance: &str) -> String {
        let whole = self.text_with(instance, &self.details);
        // Where the whole is no longer than details may be, they are not looked at.
        if whole.len() <= MAX_DETAILS {
            return whole;
        }
        let details = json_of(&self.details);
        if details.len() <= MAX_DETAILS {
            return whole;
        }
        let sha256 = super::digest(details.as_bytes());
        let left_out = json!({ "left_out": { "bytes": details.len(), "sha256": sha256 } });
        self.text_with(instance, &left_out)
    }

    fn text_with(&self, instance: &str, details: impl Serialize) -> String {
        json_of(&Text {
            at: rfc3339_ms(self.at),
            instance,
            actor: self.actor.to_string(),
            ca: self.ca.as_deref(),
            kind: self.kind.as_str(),
            subject: &self.subject,
            details,
        })
    }
}

/// An entry as it is written.
#[derive(Serialize)]
struct Text<'a, D> {
    at: String,
    instance: &'a str,
    actor: String,
    ca: Option<&'a str>,
    kind: &'static str,
    subject: &'a str,
    details: D,
}

fn json_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, JSON values and string keys are what JSON can hold")
}

/// Cuts texts that are too long.
fn bounded(value: Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(MAX_TEXT) {
            Some((end, _)) => Value::String(format!("{}…", &text[..end])),
            None => Value::String(text),
        },
        Value::Array(values) => values.into_iter().map(bounded).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, bounded(value))).collect()
        }
        other => other,
    }
}

/// RFC 3339 in UTC with milliseconds, always of the same form.
pub(super) fn rfc3339_ms(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.unix_ms()) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        Err(_) => format!("{} ms after the epoch", at.unix_ms()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_ms(1_800_000_000_007);

    fn entry() -> Entry {
        Entry::new(Kind::AccountCreated, Actor::Account("a1".to_owned()), "a1", AT)
    }

    #[test]
    fn an_entry_is_one_line_of_json_with_members_in_one_order() {
        let text =
            entry().ca("web").with("thumbprint", "t\n\"").with("none", None::<&str>).text("i");
        assert_eq!(
            text,
            "{\"at\":\"2027-01-15T08:00:00.007Z\",\"instance\":\"i\",\"actor\":\"account a1\",\
             \"ca\":\"web\",\"kind\":\"account.created\",\"subject\":\"a1\",\
             \"details\":{\"thumbprint\":\"t\\n\\\"\"}}"
        );
    }

    #[test]
    fn nothing_makes_an_entry_large() {
        let long = entry().with("evidence", "é".repeat(10 * MAX_TEXT)).text("i");
        assert!(long.len() < 3 * MAX_TEXT, "{}", long.len());
        assert!(long.contains('…'));
        let many: Vec<_> = (0..1000).map(|n| format!("{n}{}", "x".repeat(200))).collect();
        let left_out = entry().with("identifiers", many).text("i");
        assert!(left_out.contains("\"left_out\":{\"bytes\":"), "{left_out}");
        assert!(left_out.len() < 1000);
    }

    #[test]
    fn every_kind_is_explained_to_operators() {
        let page = include_str!("../../docs/operate/audit.md");
        for kind in Kind::ALL {
            assert!(page.contains(&format!("`{}`", kind.as_str())), "{kind:?}");
        }
    }

    #[test]
    fn no_two_kinds_have_one_name() {
        let names: std::collections::BTreeSet<_> =
            Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
