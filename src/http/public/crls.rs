//! The newest CRLs in memory: one copy of each, however many clients are being sent it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::store::{PublishedCrl, StoreError};

/// By issuer and signing key, of which there are as many as CAs were configured.
#[derive(Default)]
pub(super) struct Crls(Mutex<HashMap<(String, String), Arc<Newest>>>);

/// Locked while it is read, so that those who ask meanwhile share what comes.
type Newest = tokio::sync::Mutex<Option<(PublishedCrl, Bytes)>>;

impl Crls {
    /// The DER of the CRL that the database has just called the newest; `load` reads it where another
    /// one, or none, is kept. None where it is long superseded.
    pub(super) async fn get(
        &self,
        issuer: &str,
        signing_key: &str,
        published: PublishedCrl,
        load: impl Future<Output = Result<Option<Vec<u8>>, StoreError>>,
    ) -> Result<Option<Bytes>, StoreError> {
        let newest = {
            let mut crls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (issuer.to_owned(), signing_key.to_owned());
            Arc::clone(crls.entry(key).or_default())
        };
        let mut newest = newest.lock().await;
        // Not by its number alone: a database that was restored gives a number twice.
        if let Some((known, der)) = &*newest
            && *known == published
        {
            return Ok(Some(der.clone()));
        }
        let Some(der) = load.await? else { return Ok(None) };
        let der = Bytes::from(der);
        *newest = Some((published, der.clone()));
        Ok(Some(der))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn published(number: i64, signed_at_s: i64) -> PublishedCrl {
        let at = Timestamp::from_unix_s;
        PublishedCrl {
            number,
            this_update: at(0),
            next_update: at(1000),
            signed_at: at(signed_at_s),
        }
    }

    async fn load(der: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        tokio::task::yield_now().await;
        Ok(Some(der.to_vec()))
    }

    #[tokio::test]
    async fn all_who_are_sent_a_crl_share_its_bytes() {
        let crls = Crls::default();
        let get = || crls.get("ca", "key", published(1, 1), load(b"first"));
        let (one, two) = tokio::join!(get(), get());
        let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
        let three = get().await.unwrap().unwrap();
        assert_eq!(one, &b"first"[..]);
        assert_eq!((one.as_ptr(), one.as_ptr()), (two.as_ptr(), three.as_ptr()));
    }

    #[tokio::test]
    async fn a_newer_crl_is_served_at_once_and_the_older_one_is_let_go() {
        let crls = Crls::default();
        let get = |published, der| crls.get("ca", "key", published, load(der));
        let first = get(published(1, 1), b"first").await.unwrap().unwrap();
        assert!(!first.is_unique());
        assert_eq!(get(published(2, 2), b"second").await.unwrap().unwrap(), &b"second"[..]);
        assert!(first.is_unique());
        // The same number, of a database that was restored.
        assert_eq!(get(published(2, 3), b"other").await.unwrap().unwrap(), &b"other"[..]);
    }

    #[tokio::test]
    async fn issuers_and_keys_are_told_apart_and_what_is_gone_is_not_kept() {
        let crls = Crls::default();
        let get = |issuer, key, der| crls.get(issuer, key, published(1, 1), load(der));
        assert_eq!(get("ca", "key", b"one").await.unwrap().unwrap(), &b"one"[..]);
        assert_eq!(get("ca", "other", b"two").await.unwrap().unwrap(), &b"two"[..]);
        assert_eq!(get("other", "key", b"three").await.unwrap().unwrap(), &b"three"[..]);
        let gone = async { Ok(None) };
        assert_eq!(crls.get("ca", "key", published(2, 2), gone).await.unwrap(), None);
        assert_eq!(get("ca", "key", b"anew").await.unwrap().unwrap(), &b"one"[..]);
    }
}
