//! Key authorizations (RFC 8555 §8.1).

/// What a client shows to prove a challenge: the token bound to its account key.
pub(crate) fn key_authorization(token: &str, account_thumbprint: &str) -> String {
    format!("{token}.{account_thumbprint}")
}
