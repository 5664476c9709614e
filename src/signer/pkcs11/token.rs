//! One token: which one, logged in once, with the sessions that sign.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;

use super::OpenError;
use super::access::Access;
use super::inventory::{KeyEntry, Listing, SlotEntry, TokenEntry, keys_in};
use super::key::hex;
use super::session_pool::{
    DEFAULT_SESSIONS, DEFAULT_SIGN_DEADLINE, Limits, SessionPool, SessionSource as _,
};
use super::survey::Survey;
use crate::telemetry::metrics::TokenMetrics;
use crate::x509::algorithm::PublicKey;

/// Where the token is and how to use it: the `[hsm]` section. The PIN is not in its `Debug`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenOptions {
    /// What the configuration, logs and metrics call it.
    pub(crate) name: String,
    /// The PKCS#11 library.
    pub(crate) library: PathBuf,
    /// A slot ID, as `C_GetSlotList` gives it.
    pub(crate) slot: Option<u64>,
    /// The token's label; with `slot` too, both must mean the same token.
    pub(crate) token_label: Option<String>,
    /// Not needed where the token asks for no login or has a keypad of its own.
    pub(crate) pin: Option<SecretString>,
    /// Signing sessions at most; [`DEFAULT_SESSIONS`] where `None`.
    pub(crate) max_sessions: Option<usize>,
    /// How long a caller waits for a signature; [`DEFAULT_SIGN_DEADLINE`] where `None`.
    pub(crate) sign_deadline: Option<Duration>,
    /// How long a session may lie idle before it is used; for ever where `None`.
    pub(crate) keepalive: Option<Duration>,
    pub(crate) metrics: Arc<TokenMetrics>,
}

/// A token, shared by every CA whose key is on it.
pub(crate) struct Token {
    pub(in crate::signer) access: Arc<Access>,
    pub(super) pool: SessionPool,
    pub(super) survey: Mutex<Survey>,
}

impl Token {
    /// A token that is looked for when it is first used. Its threads are started.
    ///
    /// # Errors
    /// [`OpenError::Threads`].
    pub(crate) fn new(options: TokenOptions) -> Result<Arc<Self>, OpenError> {
        let limits = Limits {
            sessions: options.max_sessions.unwrap_or(DEFAULT_SESSIONS).max(1),
            deadline: options.sign_deadline.unwrap_or(DEFAULT_SIGN_DEADLINE),
            keepalive: options.keepalive,
        };
        let metrics = Arc::clone(&options.metrics);
        let access = Access::new(options);
        let pool = SessionPool::start(&access, limits, &metrics).map_err(OpenError::Threads)?;
        Ok(Arc::new(Self { access, pool, survey: Mutex::default() }))
    }

    /// Loads the library, finds the token and logs in. Blocking, for as long as the library likes:
    /// call it where that may be waited for.
    ///
    /// # Errors
    /// Every [`OpenError`] is for the operator and says what to correct. After
    /// [`OpenError::PinRefused`] the same PIN is not tried again by this process.
    pub(crate) fn open(options: TokenOptions) -> Result<Arc<Self>, OpenError> {
        let token = Self::new(options)?;
        token.find()?;
        Ok(token)
    }

    /// Finds the token and logs in; as [`Self::open`].
    pub(crate) fn find(&self) -> Result<(), OpenError> {
        self.access.with_management(|lent| {
            self.heed(&lent.place.entry);
            Ok(())
        })
    }

    /// Takes no more sessions than the token says it has.
    pub(super) fn heed(&self, found: &TokenEntry) {
        self.pool.allow(sessions_allowed(found.max_sessions));
    }

    /// Has the library begin anew: some remember a token, and even its PIN, as it was when they were
    /// initialised. Blocking.
    ///
    /// # Errors
    /// Where that would disturb other tokens, or the library does not initialise.
    pub(crate) fn look_anew(&self) -> Result<(), OpenError> {
        Ok(self.access.reinitialize(false)?)
    }

    /// The operator has had a hand in it: what a refused PIN stopped is tried again, though never
    /// with a PIN that was refused as wrong.
    pub(crate) fn resume(&self) {
        self.access.resume();
        self.pool.resume();
    }

    /// Brings the gauges up to date, where another pool of the same name has shown its own.
    pub(crate) fn show(&self) {
        self.pool.show();
    }

    pub(crate) fn label(&self) -> String {
        self.access.label()
    }

    /// The slot ID it was found in, else the configured one.
    pub(crate) fn slot(&self) -> Option<u64> {
        self.access.slot()
    }

    /// The keys on the token, private before public, by `CKA_ID`. Blocking.
    pub(crate) fn keys(&self) -> Result<Vec<KeyEntry>, OpenError> {
        self.access.with_management(|lent| Ok(keys_in(lent)?))
    }

    /// The public half of the key with this `CKA_ID`, for a key that has no certificate yet. Blocking.
    pub(crate) fn public_key(&self, cka_id: &[u8]) -> Result<PublicKey, OpenError> {
        self.access.with_management(|session| {
            let (_, mut halves) = super::find(session, &self.label(), cka_id)?;
            match (halves.pop(), halves.is_empty()) {
                (Some(only), true) => Ok(only),
                (None, _) => Err(OpenError::NoPublicKey { id: hex(cka_id) }),
                (Some(_), false) => Err(OpenError::SeveralKeys {
                    id: hex(cka_id),
                    token: self.label(),
                    present: Listing(&keys_in(session)?).to_string(),
                }),
            }
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?} in slot {:?})", self.label(), self.slot())
    }
}

/// The one token that `slot` and `label` mean.
pub(super) fn choose<'a>(
    slots: &'a [SlotEntry],
    slot: Option<u64>,
    label: Option<&str>,
) -> Result<(u64, &'a TokenEntry), OpenError> {
    let present = || Listing(slots).to_string();
    let initialized = |entry: &'a SlotEntry| entry.token.as_ref().filter(|token| token.initialized);
    if let Some(slot) = slot {
        let token = slots.iter().find(|entry| entry.slot == slot).and_then(initialized);
        let Some(token) = token else {
            return Err(OpenError::NoSuchSlot { slot, present: present() });
        };
        return match label {
            Some(label) if label != token.label => Err(OpenError::SlotAndLabelDisagree {
                slot,
                label: label.to_owned(),
                found: token.label.clone(),
                present: present(),
            }),
            _ => Ok((slot, token)),
        };
    }
    let Some(label) = label else {
        return Err(OpenError::WhichToken { present: present() });
    };
    let mut named = slots
        .iter()
        .filter_map(|entry| Some((entry.slot, initialized(entry)?)))
        .filter(|(_, token)| token.label == label);
    match (named.next(), named.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(OpenError::NoSuchToken { label: label.to_owned(), present: present() }),
        (Some(_), Some(_)) => {
            Err(OpenError::AmbiguousLabel { label: label.to_owned(), present: present() })
        }
    }
}

/// How many signing sessions a token allows: its limit counts the management session too.
fn sessions_allowed(most: Option<u64>) -> usize {
    most.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(1)).unwrap_or(usize::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::signer::pkcs11) fn token(label: &str) -> TokenEntry {
        TokenEntry {
            label: label.to_owned(),
            initialized: true,
            user_pin_initialized: true,
            login_required: true,
            ..TokenEntry::default()
        }
    }

    fn slots() -> Vec<SlotEntry> {
        let entry = |slot, token| SlotEntry { slot, description: String::new(), token };
        vec![
            entry(29, Some(token("kipuka"))),
            entry(7, Some(token("twin"))),
            entry(8, Some(token("twin"))),
            entry(9, Some(TokenEntry { initialized: false, ..token("") })),
            entry(10, None),
        ]
    }

    #[test]
    fn a_token_is_found_by_slot_by_label_and_by_both() {
        let slots = slots();
        for (slot, label) in [(Some(29), None), (None, Some("kipuka")), (Some(29), Some("kipuka"))]
        {
            assert_eq!(choose(&slots, slot, label).unwrap().0, 29);
        }
        assert_eq!(choose(&slots, Some(8), Some("twin")).unwrap().0, 8);
    }

    #[test]
    fn a_token_that_is_not_found_is_answered_with_what_there_is() {
        let slots = slots();
        for (slot, label, names) in [
            (None, None, "token_label"),
            (Some(0), None, "slot 0x0 (0)"),
            (Some(9), None, "slot 0x9 (9)"),
            (Some(10), None, "slot 0xa (10)"),
            (None, Some("other"), "\"other\""),
            (None, Some(""), "\"\""),
            (None, Some("twin"), "\"twin\""),
            (Some(29), Some("twin"), "\"twin\""),
        ] {
            let said = choose(&slots, slot, label).unwrap_err().to_string();
            assert!(said.contains(names), "{said}");
            assert!(said.contains("slot 0x1d (29): token \"kipuka\""), "{said}");
            assert!(said.contains("slot 0x9 (9): a token that is not initialised"), "{said}");
        }
    }

    #[test]
    fn one_of_a_tokens_sessions_is_not_for_signing() {
        assert_eq!(sessions_allowed(None), usize::MAX);
        assert_eq!(sessions_allowed(Some(16)), 15);
        assert_eq!(sessions_allowed(Some(0)), 0);
    }

    #[test]
    fn the_pin_is_not_in_the_debug_form_of_the_options() {
        let options = TokenOptions { pin: Some("s3cret".into()), ..TokenOptions::default() };
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
