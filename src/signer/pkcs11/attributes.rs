//! What a key is in the token's own words: its attributes, read back one by one (PKCS#11 v3.1 §4.7 to
//! §4.9).

use std::fmt;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::inventory::{KeyEntry, entry_of};
use super::key::{hex, public_halves};
use super::recovery::Fault;
use super::{OpenError, Token};
use crate::x509::algorithm::PublicKey;

/// A private or public key with all that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFacts {
    pub(crate) entry: KeyEntry,
    /// `None` where the token shows no public half, or one that kipuka has no use for.
    pub(crate) public_key: Option<PublicKey>,
    /// Named as PKCS#11 names them.
    pub(crate) attributes: Vec<(&'static str, Shown)>,
}

/// What an attribute shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Flag(bool),
    Text(String),
    /// The token does not show it, or does not know it.
    Nothing,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(true) => f.write_str("yes"),
            Self::Flag(false) => f.write_str("no"),
            Self::Text(text) => f.write_str(text),
            Self::Nothing => f.write_str("(not shown by the token)"),
        }
    }
}

/// What an auditor asks of a private key.
const OF_PRIVATE_KEYS: [(&str, AttributeType); 21] = [
    ("CKA_KEY_TYPE", AttributeType::KeyType),
    ("CKA_ID", AttributeType::Id),
    ("CKA_LABEL", AttributeType::Label),
    ("CKA_TOKEN", AttributeType::Token),
    ("CKA_PRIVATE", AttributeType::Private),
    ("CKA_SENSITIVE", AttributeType::Sensitive),
    ("CKA_ALWAYS_SENSITIVE", AttributeType::AlwaysSensitive),
    ("CKA_EXTRACTABLE", AttributeType::Extractable),
    ("CKA_NEVER_EXTRACTABLE", AttributeType::NeverExtractable),
    ("CKA_LOCAL", AttributeType::Local),
    ("CKA_KEY_GEN_MECHANISM", AttributeType::KeyGenMechanism),
    ("CKA_MODIFIABLE", AttributeType::Modifiable),
    ("CKA_COPYABLE", AttributeType::Copyable),
    ("CKA_DESTROYABLE", AttributeType::Destroyable),
    ("CKA_SIGN", AttributeType::Sign),
    ("CKA_SIGN_RECOVER", AttributeType::SignRecover),
    ("CKA_DECRYPT", AttributeType::Decrypt),
    ("CKA_UNWRAP", AttributeType::Unwrap),
    ("CKA_DERIVE", AttributeType::Derive),
    ("CKA_ALWAYS_AUTHENTICATE", AttributeType::AlwaysAuthenticate),
    ("CKA_WRAP_WITH_TRUSTED", AttributeType::WrapWithTrusted),
];

const OF_PUBLIC_KEYS: [(&str, AttributeType); 11] = [
    ("CKA_KEY_TYPE", AttributeType::KeyType),
    ("CKA_ID", AttributeType::Id),
    ("CKA_LABEL", AttributeType::Label),
    ("CKA_LOCAL", AttributeType::Local),
    ("CKA_MODIFIABLE", AttributeType::Modifiable),
    ("CKA_VERIFY", AttributeType::Verify),
    ("CKA_VERIFY_RECOVER", AttributeType::VerifyRecover),
    ("CKA_ENCRYPT", AttributeType::Encrypt),
    ("CKA_WRAP", AttributeType::Wrap),
    ("CKA_DERIVE", AttributeType::Derive),
    ("CKA_TRUSTED", AttributeType::Trusted),
];

impl KeyFacts {
    /// A flag by its name; `None` where the token does not show it.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.attributes.iter().find_map(|(known, shown)| match shown {
            Shown::Flag(flag) if *known == name => Some(*flag),
            _ => None,
        })
    }

    /// The key's type with its size, as exactly as it is known.
    pub(crate) fn kind(&self) -> String {
        let known = self.public_key.as_ref().map(|key| key.key_type().to_string());
        known.unwrap_or_else(|| self.entry.key_type.clone())
    }
}

/// Every key on the token, or those with one `CKA_ID`; private before public. Blocking.
pub(crate) fn key_facts(token: &Token, cka_id: Option<&[u8]>) -> Result<Vec<KeyFacts>, OpenError> {
    token.access.with_management(|session| {
        let mut keys = Vec::new();
        for (class, private) in [(ObjectClass::PRIVATE_KEY, true), (ObjectClass::PUBLIC_KEY, false)]
        {
            let mut template = vec![Attribute::Class(class)];
            template.extend(cka_id.map(|id| Attribute::Id(id.to_vec())));
            for object in session.find_objects(&template).map_err(Fault::from)? {
                keys.push(facts(session, object, private)?);
            }
        }
        keys.sort_by(|one, other| one.entry.place().cmp(&other.entry.place()));
        Ok(keys)
    })
}

fn facts(session: &Session, object: ObjectHandle, private: bool) -> Result<KeyFacts, Fault> {
    let entry = entry_of(session, object, private);
    let asked: &[_] = if private { &OF_PRIVATE_KEYS } else { &OF_PUBLIC_KEYS };
    let attributes = asked.iter().map(|(name, wanted)| {
        // One by one: an attribute that a token cannot show must not hide the rest.
        let shown = session.get_attributes(object, &[*wanted]).unwrap_or_default().pop();
        (*name, shown.map_or(Shown::Nothing, shown_as))
    });
    Ok(KeyFacts {
        attributes: attributes.collect(),
        public_key: public_halves(session, &entry.id, object)?.into_iter().next(),
        entry,
    })
}

fn shown_as(attribute: Attribute) -> Shown {
    use Attribute as A;
    match attribute {
        A::Token(flag)
        | A::Private(flag)
        | A::Sensitive(flag)
        | A::AlwaysSensitive(flag)
        | A::Extractable(flag)
        | A::NeverExtractable(flag)
        | A::Local(flag)
        | A::Modifiable(flag)
        | A::Copyable(flag)
        | A::Destroyable(flag)
        | A::Sign(flag)
        | A::SignRecover(flag)
        | A::Decrypt(flag)
        | A::Unwrap(flag)
        | A::Derive(flag)
        | A::AlwaysAuthenticate(flag)
        | A::WrapWithTrusted(flag)
        | A::Verify(flag)
        | A::VerifyRecover(flag)
        | A::Encrypt(flag)
        | A::Wrap(flag)
        | A::Trusted(flag) => Shown::Flag(flag),
        A::Id(id) => Shown::Text(hex(&id)),
        A::Label(label) => Shown::Text(format!("{:?}", String::from_utf8_lossy(&label))),
        A::KeyType(kind) => Shown::Text(kind.to_string()),
        A::KeyGenMechanism(mechanism) => Shown::Text(mechanism.to_string()),
        _ => Shown::Nothing,
    }
}
