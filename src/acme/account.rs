//! Accounts (RFC 8555 §7.1.2).

use super::problem::{Problem, ProblemType};
use crate::clock::Timestamp;

const MAX_CONTACTS: usize = 10;
const MAX_CONTACT_LENGTH: usize = 254;

/// An account: a key that one CA knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: String,
    /// The id of the only CA that knows this account.
    pub(crate) ca: String,
    /// The account key in the canonical form of RFC 7638.
    pub(crate) jwk: String,
    pub(crate) thumbprint: String,
    pub(crate) contact: Vec<String>,
    /// The last agreement to terms of service.
    pub(crate) terms: Option<Agreement>,
    /// What bound it to an external account when it was made (RFC 8555 §7.3.4).
    pub(crate) binding: Option<Binding>,
    pub(crate) created_at: Timestamp,
    pub(crate) deactivated_at: Option<Timestamp>,
}

/// That a client set `termsOfServiceAgreed` (RFC 8555 §7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) at: Timestamp,
    /// The terms that the directory named then; `None` where it named none.
    pub(crate) to: Option<String>,
}

/// An account's tie to an external account (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The identifier of the key that bound it.
    pub(crate) kid: String,
    /// The JWS as the client sent it, in JSON.
    pub(crate) jws: String,
    /// The rules of the names that the account may order; empty: any.
    pub(crate) allowed: Vec<String>,
}

/// The status of an account (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountStatus {
    Valid,
    Deactivated,
}

impl AccountStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Deactivated => "deactivated",
        }
    }
}

impl Account {
    pub(crate) fn status(&self) -> AccountStatus {
        match self.deactivated_at {
            None => AccountStatus::Valid,
            Some(_) => AccountStatus::Deactivated,
        }
    }

    /// Whether it agreed to these terms: to others, or when there were none, is not to these.
    pub(crate) fn agreed_to(&self, terms: Option<&str>) -> bool {
        match (&self.terms, terms) {
            (_, None) => true,
            (Some(agreement), terms) => agreement.to.as_deref() == terms,
            (None, Some(_)) => false,
        }
    }
}

/// What an account is told that has not agreed to the CA's terms of service (RFC 8555 §7.3, §7.3.3).
pub(crate) fn terms_not_agreed(terms: &str, what: &str) -> Problem {
    let detail = format!("{what}; read {terms} and set termsOfServiceAgreed to true");
    // Where a person is told what to agree to, there is nothing else to visit.
    let instance = Some(terms.to_owned());
    Problem { instance, ..Problem::new(ProblemType::UserActionRequired, detail) }
}

/// Checks contact URLs (RFC 8555 §7.3): `mailto:` with exactly one address and no header fields.
pub(crate) fn check_contacts(contacts: &[String]) -> Result<(), Problem> {
    if contacts.len() > MAX_CONTACTS {
        return Err(Problem::new(
            ProblemType::InvalidContact,
            format!("{} contacts were given; at most {MAX_CONTACTS} are kept", contacts.len()),
        ));
    }
    contacts.iter().try_for_each(|contact| check_contact(contact))
}

fn check_contact(contact: &str) -> Result<(), Problem> {
    let invalid = |why: &str| {
        Err(Problem::new(ProblemType::InvalidContact, format!("the contact {contact:?} {why}")))
    };
    if contact.len() > MAX_CONTACT_LENGTH {
        return Err(Problem::new(
            ProblemType::InvalidContact,
            format!("a contact is longer than {MAX_CONTACT_LENGTH} characters"),
        ));
    }
    let Some((scheme, address)) = contact.split_once(':') else {
        return invalid("is not a URL; write mailto:someone@example.org");
    };
    if !scheme.eq_ignore_ascii_case("mailto") {
        return Err(Problem::new(
            ProblemType::UnsupportedContact,
            format!("contacts with the scheme {scheme:?} are not supported; use mailto:"),
        ));
    }
    if address.contains(['?', ',']) {
        return invalid("has more than one address or has header fields (RFC 8555 §7.3)");
    }
    let parts = address.rsplit_once('@');
    let whole = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if !whole || address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return invalid("is not a mail address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_refused_with_the_type_that_says_why() {
        let kind =
            |contact: &str| check_contacts(&[contact.to_owned()]).map_err(|problem| problem.kind);
        assert_eq!(kind("mailto:admin@example.org"), Ok(()));
        assert_eq!(kind("MAILTO:admin@example.org"), Ok(()));
        assert_eq!(kind("tel:+123"), Err(ProblemType::UnsupportedContact));
        for bad in [
            "admin@example.org",
            "mailto:",
            "mailto:@",
            "mailto:a@",
            "mailto:@b",
            "mailto:a b@c",
            "mailto:a@b,c@d",
            "mailto:a@b?subject=x",
            "mailto:a@b\r\n",
        ] {
            assert_eq!(kind(bad), Err(ProblemType::InvalidContact), "{bad}");
        }
        assert_eq!(
            kind(&format!("mailto:{}@b", "a".repeat(300))),
            Err(ProblemType::InvalidContact)
        );
    }
}
