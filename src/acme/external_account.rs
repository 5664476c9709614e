//! External accounts (RFC 8555 §7.3.4).

use crate::clock::Timestamp;

/// A key that binds accounts of one CA.
#[derive(Clone)]
pub(crate) struct ExternalAccount {
    /// The key identifier.
    pub(crate) kid: String,
    pub(crate) ca: String,
    /// Whose it is, for people.
    pub(crate) name: Option<String>,
    /// The algorithm of the MAC, as JWS calls it (RFC 7518 §3.1).
    pub(crate) algorithm: String,
    /// `None` once it binds no more accounts.
    pub(crate) mac_key: Option<Vec<u8>>,
    /// The rules of the names that its accounts may order; empty: any.
    pub(crate) allowed: Vec<String>,
    /// Whether it may bind more than one account.
    pub(crate) reusable: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    /// How many accounts it has bound.
    pub(crate) accounts: i64,
}

/// What became of an external account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExternalAccountStatus {
    /// It binds accounts.
    Active,
    /// It has bound the one account that it was made for.
    Bound,
    Expired,
    Revoked,
}

impl ExternalAccountStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Bound => "bound",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl ExternalAccount {
    pub(crate) fn status(&self, now: Timestamp) -> ExternalAccountStatus {
        if self.revoked_at.is_some() {
            ExternalAccountStatus::Revoked
        } else if self.mac_key.is_none() {
            ExternalAccountStatus::Bound
        } else if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            ExternalAccountStatus::Expired
        } else {
            ExternalAccountStatus::Active
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_from_the_facts() {
        let at = Timestamp::from_unix_s;
        let status = |mac_key: bool, expires_at: Option<i64>, revoked: bool| {
            let account = ExternalAccount {
                kid: "kid".to_owned(),
                ca: "ca".to_owned(),
                name: None,
                algorithm: "HS256".to_owned(),
                mac_key: mac_key.then(|| vec![1]),
                allowed: Vec::new(),
                reusable: false,
                created_at: at(0),
                expires_at: expires_at.map(at),
                revoked_at: revoked.then_some(at(1)),
                accounts: 0,
            };
            account.status(at(10)).as_str()
        };
        for (mac_key, expires_at, revoked, expected) in [
            (true, None, false, "active"),
            (true, Some(11), false, "active"),
            (true, Some(10), false, "expired"),
            (false, Some(9), false, "bound"),
            (false, None, false, "bound"),
            (false, None, true, "revoked"),
            (true, Some(9), true, "revoked"),
        ] {
            assert_eq!(status(mac_key, expires_at, revoked), expected);
        }
    }
}
