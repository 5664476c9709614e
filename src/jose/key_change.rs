//! The keyChange object (RFC 8555 §7.3.5).

use super::jwk::{Jwk, JwkError};
use super::members::{Member, Members};

/// What the holder of a new key asks for.
#[derive(Debug)]
pub(crate) struct KeyChange {
    /// The URL of the account that is to get the key.
    pub(crate) account: String,
    pub(crate) old_key: Jwk,
}

/// Why a payload is no keyChange object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyChangeError {
    #[error("it cannot be read: {0}")]
    Json(String),
    #[error("it has no {0:?} of the right kind")]
    Member(&'static str),
    #[error("\"oldKey\": {0}")]
    OldKey(#[from] JwkError),
}

impl KeyChange {
    pub(crate) fn read(payload: &[u8]) -> Result<Self, KeyChangeError> {
        let members: Members = serde_json::from_slice(payload)
            .map_err(|error| KeyChangeError::Json(error.to_string()))?;
        let Ok(Some(account)) = members.text("account") else {
            return Err(KeyChangeError::Member("account"));
        };
        let Some(Member::Object(old_key)) = members.get("oldKey") else {
            return Err(KeyChangeError::Member("oldKey"));
        };
        Ok(Self { account: account.to_owned(), old_key: Jwk::read(old_key)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWK: &str =
        r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn the_object_is_read_strictly() {
        let read = |text: &str| KeyChange::read(text.as_bytes());
        let good = read(&format!(r#"{{"account":"url","oldKey":{JWK},"more":1}}"#)).unwrap();
        assert_eq!((good.account.as_str(), good.old_key.canonical_json().as_str()), ("url", JWK));
        for (text, error) in [
            (format!(r#"{{"oldKey":{JWK}}}"#), KeyChangeError::Member("account")),
            (format!(r#"{{"account":1,"oldKey":{JWK}}}"#), KeyChangeError::Member("account")),
            (r#"{"account":"url"}"#.to_owned(), KeyChangeError::Member("oldKey")),
            (r#"{"account":"url","oldKey":"key"}"#.to_owned(), KeyChangeError::Member("oldKey")),
            (
                r#"{"account":"url","oldKey":{}}"#.to_owned(),
                KeyChangeError::OldKey(JwkError::Missing("kty")),
            ),
        ] {
            assert_eq!(read(&text).unwrap_err(), error, "{text}");
        }
        for text in [
            String::new(),
            "{".to_owned(),
            format!(r#"["url",{JWK}]"#),
            format!(r#"{{"account":"url","account":"url","oldKey":{JWK}}}"#),
        ] {
            assert!(matches!(read(&text), Err(KeyChangeError::Json(_))), "{text}");
        }
    }
}
