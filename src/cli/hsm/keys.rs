//! `kipuka hsm keys`.

use serde::Serialize;

use super::super::token::Id;
use super::super::transcript::doubts;
use super::super::{Failure, print_json, print_listing};
use crate::signer::pkcs11::Token;
use crate::signer::pkcs11::attributes::{KeyFacts, key_facts};

#[derive(Serialize)]
struct Key {
    /// In hex.
    id: String,
    label: String,
    class: &'static str,
    /// With its size or curve.
    kind: String,
    usage: Vec<&'static str>,
    /// `null`, as the others below, where the token does not show it, or for a public key.
    sensitive: Option<bool>,
    always_sensitive: Option<bool>,
    extractable: Option<bool>,
    never_extractable: Option<bool>,
    local: Option<bool>,
    /// RFC 5280 §4.2.1.2; `null` where the token shows no public half.
    key_identifier: Option<String>,
    /// What to write into `[[ca]]`; of a private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    hsm_slot: Option<String>,
}

/// As pkcs11-tool names them.
const USAGES: [(&str, &str); 10] = [
    ("CKA_ENCRYPT", "encrypt"),
    ("CKA_DECRYPT", "decrypt"),
    ("CKA_SIGN", "sign"),
    ("CKA_SIGN_RECOVER", "signRecover"),
    ("CKA_VERIFY", "verify"),
    ("CKA_VERIFY_RECOVER", "verifyRecover"),
    ("CKA_WRAP", "wrap"),
    ("CKA_UNWRAP", "unwrap"),
    ("CKA_DERIVE", "derive"),
    ("CKA_ALWAYS_AUTHENTICATE", "always authenticate"),
];

/// Lists the keys on a token.
pub(super) fn keys(token: &Token, json: bool) -> Result<(), Failure> {
    let found = key_facts(token, None).map_err(Failure::failed)?;
    if json {
        let keys: Vec<_> = found.iter().map(key).collect();
        return print_json(&keys);
    }
    let mut text = String::new();
    for facts in &found {
        let key = key(facts);
        text += &format!("{}\n", facts.entry);
        text += &format!("  kind  : {}\n", key.kind);
        text += &format!("  usage : {}\n", none_or(&key.usage));
        if let Some(id) = &key.hsm_slot {
            text += &format!("  access: {}\n", none_or(&access(&key)));
            for doubt in doubts(facts) {
                text += &format!("  note  : {doubt}\n");
            }
            text += &format!("  in [[ca]] write: hsm_slot = {id:?}\n");
        }
    }
    print_listing(&text)
}

fn none_or(list: &[&str]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn key(facts: &KeyFacts) -> Key {
    let flag = |name| facts.flag(name).filter(|_| facts.entry.private);
    let usage = USAGES.iter().filter(|(name, _)| facts.flag(name) == Some(true));
    let id = Id(facts.entry.id.clone()).to_string();
    Key {
        label: facts.entry.label.clone(),
        class: if facts.entry.private { "private" } else { "public" },
        kind: facts.kind(),
        usage: usage.map(|(_, usage)| *usage).collect(),
        sensitive: flag("CKA_SENSITIVE"),
        always_sensitive: flag("CKA_ALWAYS_SENSITIVE"),
        extractable: flag("CKA_EXTRACTABLE"),
        never_extractable: flag("CKA_NEVER_EXTRACTABLE"),
        local: flag("CKA_LOCAL"),
        key_identifier: facts.public_key.as_ref().map(|key| key.key_identifier_hex()),
        hsm_slot: facts.entry.private.then(|| id.clone()),
        id,
    }
}

/// In the words of pkcs11-tool.
fn access(key: &Key) -> Vec<&'static str> {
    let words = [
        (key.sensitive, "sensitive"),
        (key.always_sensitive, "always sensitive"),
        (key.extractable, "EXTRACTABLE"),
        (key.never_extractable, "never extractable"),
        (key.local, "local"),
    ];
    words.into_iter().filter(|(set, _)| *set == Some(true)).map(|(_, word)| word).collect()
}
