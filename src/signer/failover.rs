//! One key in several places: the first that is well signs, and where it is slow or fails, the next.
//!
//! Each place has a circuit of its own, so that a dead one is passed over at once, and taken back
//! into service by itself when its probes get through.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{BoxFuture, Health, SignError, Signer};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm, VerifiedSignature};

/// How long a place may take before the next is asked as well. The first answer counts; signing the
/// same bytes twice is harmless.
const HEAD_START: Duration = Duration::from_secs(1);

/// Signers with the same key.
pub(crate) struct Failover {
    /// At least one.
    places: Vec<Arc<dyn Signer>>,
    first: Arc<dyn Signer>,
    by_load: bool,
}

impl Failover {
    /// A signer over these, which all have the same public key; the only one itself where there is
    /// one. They are asked in their order, or `by_load` the least busy first. `None` of none.
    pub(crate) fn over(mut places: Vec<Arc<dyn Signer>>, by_load: bool) -> Option<Arc<dyn Signer>> {
        if places.len() == 1 {
            return places.pop();
        }
        let first = Arc::clone(places.first()?);
        Some(Arc::new(Self { places, first, by_load }))
    }

    /// The places in the order in which they are asked: those that are well come first.
    fn in_order(&self) -> Vec<Arc<dyn Signer>> {
        let mut places = self.places.clone();
        // Both sorts are stable: what is alike keeps the configured order.
        if self.by_load {
            places.sort_by_key(|place| place.load());
        }
        places.sort_by_key(|place| place.health() != Health::Up);
        places
    }

    async fn sign_somewhere(&self, message: Vec<u8>) -> Result<VerifiedSignature, SignError> {
        let mut waiting = self.in_order().into_iter();
        let mut asked = JoinSet::new();
        let mut first_error = None;
        loop {
            if let Some(place) = waiting.next() {
                let message = message.clone();
                asked.spawn(async move { place.sign(message).await });
            }
            let head_start = if waiting.len() == 0 { Duration::MAX } else { HEAD_START };
            let answer = match tokio::time::timeout(head_start, asked.join_next()).await {
                Err(_) => continue,
                Ok(Some(Ok(answer))) => answer,
                Ok(Some(Err(error))) => {
                    Err(SignError::Unavailable { detail: format!("a task failed: {error}") })
                }
                Ok(None) => {
                    let none = SignError::Unavailable { detail: "no token was asked".to_owned() };
                    return Err(first_error.unwrap_or(none));
                }
            };
            match answer {
                Ok(signature) => return Ok(signature),
                // The first place's reason is the one to mend first.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
    }
}

impl Signer for Failover {
    fn public_key(&self) -> &PublicKey {
        self.first.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.first.algorithm()
    }

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<VerifiedSignature, SignError>> {
        Box::pin(self.sign_somewhere(message))
    }

    /// Up as long as one place is.
    fn health(&self) -> Health {
        let mut down = Vec::new();
        for place in &self.places {
            match place.health() {
                Health::Up => return Health::Up,
                Health::Down(why) => down.push(why),
            }
        }
        Health::Down(down.join("; "))
    }

    fn load(&self) -> usize {
        self.places.iter().map(|place| place.load()).sum()
    }

    fn describe(&self) -> String {
        let places: Vec<_> = self.places.iter().map(|place| place.describe()).collect();
        places.join(if self.by_load { ", shared with " } else { ", or else " })
    }

    fn places(&self) -> Vec<(String, Health)> {
        self.places.iter().map(|place| (place.describe(), place.health())).collect()
    }
}
