//! What a library and a token hold, for people: slots, tokens, keys.

use std::fmt;
use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Limit, Slot, TokenInfo};

use super::OpenError;
use super::key::hex;
use super::module::Module;
use super::recovery::Fault;

/// A slot with what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotEntry {
    /// The slot ID that `slot` in `[hsm]` takes; not its place in the list.
    pub(crate) slot: u64,
    pub(crate) description: String,
    pub(crate) token: Option<TokenEntry>,
}

/// A token's `CK_TOKEN_INFO` (PKCS#11 v3.1 §3.3), as far as kipuka asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenEntry {
    pub(crate) label: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) serial_number: String,
    pub(crate) initialized: bool,
    pub(crate) user_pin_initialized: bool,
    pub(crate) login_required: bool,
    /// The PIN is typed at the token itself.
    pub(crate) protected_authentication_path: bool,
    pub(crate) user_pin_locked: bool,
    /// How many sessions one application may have; `None` where there is no limit to speak of.
    pub(crate) max_sessions: Option<u64>,
    /// The flags that are set, in the words of pkcs11-tool.
    pub(crate) flags: Vec<&'static str>,
    pub(crate) hardware_version: String,
    pub(crate) firmware_version: String,
    /// The shortest and the longest PIN, in bytes.
    pub(crate) pin_length: (usize, usize),
}

/// A library's `CK_INFO` (PKCS#11 v3.1 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LibraryEntry {
    pub(crate) manufacturer: String,
    pub(crate) description: String,
    pub(crate) version: String,
    pub(crate) cryptoki_version: String,
}

/// A private or public key on a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    /// `CKA_ID`: any bytes.
    pub(crate) id: Vec<u8>,
    /// `CKA_LABEL`.
    pub(crate) label: String,
    /// As PKCS#11 names it: `RSA`, `EC`.
    pub(crate) key_type: String,
    /// `CKO_PRIVATE_KEY`, else `CKO_PUBLIC_KEY`.
    pub(crate) private: bool,
}

/// The slots of the library at `library`. Blocking.
pub(crate) fn slots(library: &Path) -> Result<Vec<SlotEntry>, OpenError> {
    let module = Module::load(library)?;
    let inside = module.enter()?;
    Ok(slots_of(&inside)?)
}

/// What the library at `library` says of itself. Blocking.
pub(crate) fn library(library: &Path) -> Result<LibraryEntry, OpenError> {
    let module = Module::load(library)?;
    let info = module.enter()?.get_library_info().map_err(Fault::from)?;
    Ok(LibraryEntry {
        manufacturer: info.manufacturer_id().to_owned(),
        description: info.library_description().to_owned(),
        version: info.library_version().to_string(),
        cryptoki_version: info.cryptoki_version().to_string(),
    })
}

pub(super) fn slots_of(context: &Pkcs11) -> Result<Vec<SlotEntry>, Fault> {
    let with_token = context.get_slots_with_token()?;
    let mut entries = Vec::new();
    for slot in context.get_all_slots()? {
        let token = if with_token.contains(&slot) { token_in(context, slot) } else { None };
        let description =
            context.get_slot_info(slot).map(|info| info.slot_description().trim().to_owned());
        entries.push(SlotEntry {
            slot: slot.id(),
            description: description.unwrap_or_default(),
            token,
        });
    }
    Ok(entries)
}

/// `None` also for a token that does not answer: one bad token must not hide the others.
fn token_in(context: &Pkcs11, slot: Slot) -> Option<TokenEntry> {
    let info = match context.get_token_info(slot) {
        Ok(info) => info,
        Err(error @ Error::Pkcs11(..)) => {
            tracing::warn!(
                slot = slot.id(),
                "no answer from a token: {}",
                Fault::from(error).detail
            );
            return None;
        }
        Err(error) => {
            tracing::warn!(slot = slot.id(), "a token's label cannot be read: {error}");
            return Some(unreadable());
        }
    };
    Some(TokenEntry {
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial_number: info.serial_number().to_owned(),
        initialized: info.token_initialized(),
        user_pin_initialized: info.user_pin_initialized(),
        login_required: info.login_required(),
        protected_authentication_path: info.protected_authentication_path(),
        user_pin_locked: info.user_pin_locked(),
        max_sessions: match info.max_session_count() {
            Limit::Max(count) => Some(count),
            Limit::Infinite | Limit::Unavailable => None,
        },
        flags: flags(&info),
        hardware_version: info.hardware_version().to_string(),
        firmware_version: info.firmware_version().to_string(),
        pin_length: (info.min_pin_length(), info.max_pin_length()),
    })
}

fn flags(info: &TokenInfo) -> Vec<&'static str> {
    let flags = [
        (info.login_required(), "login required"),
        (info.protected_authentication_path(), "PIN pad present"),
        (info.rng(), "rng"),
        (info.error_state(), "token in an error state"),
        (info.so_pin_count_low(), "SO PIN count low"),
        (info.so_pin_final_try(), "final SO PIN try"),
        (info.so_pin_locked(), "SO PIN locked"),
        (info.so_pin_to_be_changed(), "SO PIN to be changed"),
        (info.token_initialized(), "token initialized"),
        (info.user_pin_initialized(), "PIN initialized"),
        (info.user_pin_count_low(), "user PIN count low"),
        (info.user_pin_final_try(), "final user PIN try"),
        (info.user_pin_locked(), "user PIN locked"),
        (info.user_pin_to_be_changed(), "user PIN to be changed"),
        (info.write_protected(), "readonly"),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}

/// A token that answered, but not in PKCS#11's words: openCryptoki 3.8 gives its clock another form.
/// It can be named by its slot; the rest is what most tokens are.
fn unreadable() -> TokenEntry {
    TokenEntry {
        initialized: true,
        user_pin_initialized: true,
        login_required: true,
        ..TokenEntry::default()
    }
}

/// The keys that `session` can see.
pub(super) fn keys_in(session: &Session) -> Result<Vec<KeyEntry>, Fault> {
    let mut keys = Vec::new();
    for (class, private) in [(ObjectClass::PRIVATE_KEY, true), (ObjectClass::PUBLIC_KEY, false)] {
        for object in session.find_objects(&[Attribute::Class(class)])? {
            keys.push(entry_of(session, object, private));
        }
    }
    keys.sort_by(|one, other| one.place().cmp(&other.place()));
    Ok(keys)
}

pub(super) fn entry_of(session: &Session, object: ObjectHandle, private: bool) -> KeyEntry {
    let mut key =
        KeyEntry { id: Vec::new(), label: String::new(), key_type: String::new(), private };
    for wanted in [AttributeType::Id, AttributeType::Label, AttributeType::KeyType] {
        // Asked one by one: an attribute that a token cannot show must not hide the rest.
        match session.get_attributes(object, &[wanted]).unwrap_or_default().pop() {
            Some(Attribute::Id(id)) => key.id = id,
            Some(Attribute::Label(label)) => {
                key.label = String::from_utf8_lossy(&label).into_owned();
            }
            Some(Attribute::KeyType(kind)) => {
                key.key_type = match kind {
                    CkKeyType::RSA => "RSA".to_owned(),
                    CkKeyType::EC => "EC".to_owned(),
                    other => other.to_string(),
                };
            }
            _ => {}
        }
    }
    key
}

impl KeyEntry {
    /// Where it stands in a list: by `CKA_ID`, private before public.
    pub(super) fn place(&self) -> (&[u8], bool) {
        (&self.id, !self.private)
    }
}

impl fmt::Display for SlotEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {:#x} ({}): ", self.slot, self.slot)?;
        match &self.token {
            Some(token) if token.initialized => write!(f, "token {:?}", token.label),
            Some(_) => f.write_str("a token that is not initialised"),
            None => f.write_str("no token"),
        }
    }
}

impl fmt::Display for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = if self.private { "private" } else { "public" };
        let id = if self.id.is_empty() { "(empty)".to_owned() } else { hex(&self.id) };
        write!(f, "id {id} label {:?} ({} {class} key)", self.label, self.key_type)
    }
}

/// What an error message appends: `a; b; c`, or that there is nothing.
pub(super) struct Listing<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for Listing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = self.0.iter();
        let Some(first) = entries.next() else {
            return f.write_str("nothing");
        };
        write!(f, "{first}")?;
        entries.try_for_each(|entry| write!(f, "; {entry}"))
    }
}
