//! The URLs of a CA's resources.

/// Makes URLs below one CA's `/acme/{ca}`.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// `https://host:port`.
    base: String,
    ca: String,
}

impl Links {
    pub(super) fn new(base: String, ca: &str) -> Self {
        Self { base, ca: ca.to_owned() }
    }

    /// The URL of this path and query on this server.
    pub(super) fn absolute(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    fn below(&self, rest: &str) -> String {
        format!("{}/acme/{}/{rest}", self.base, self.ca)
    }

    pub(super) fn directory(&self) -> String {
        self.below("directory")
    }

    pub(super) fn new_nonce(&self) -> String {
        self.below("new-nonce")
    }

    pub(super) fn new_account(&self) -> String {
        self.below("new-account")
    }

    /// The certificates' identifiers follow it (RFC 9773 §4.1).
    pub(super) fn renewal_info(&self) -> String {
        self.below("renewal-info")
    }

    pub(super) fn new_authz(&self) -> String {
        self.below("new-authz")
    }

    pub(super) fn new_order(&self) -> String {
        self.below("new-order")
    }

    pub(super) fn key_change(&self) -> String {
        self.below("key-change")
    }

    pub(super) fn revoke_cert(&self) -> String {
        self.below("revoke-cert")
    }

    pub(super) fn account(&self, id: &str) -> String {
        self.below(&format!("account/{id}"))
    }

    /// The id in an account URL of this CA.
    pub(super) fn account_id<'a>(&self, url: &'a str) -> Option<&'a str> {
        url.strip_prefix(&self.account("")).filter(|id| may_be_id(id))
    }

    pub(super) fn orders(&self, account_id: &str) -> String {
        self.below(&format!("account/{account_id}/orders"))
    }

    pub(super) fn order(&self, id: &str) -> String {
        self.below(&format!("order/{id}"))
    }

    pub(super) fn finalize(&self, order_id: &str) -> String {
        self.below(&format!("order/{order_id}/finalize"))
    }

    pub(super) fn authorization(&self, id: &str) -> String {
        self.below(&format!("authz/{id}"))
    }

    pub(super) fn challenge(&self, id: &str) -> String {
        self.below(&format!("chall/{id}"))
    }

    pub(super) fn certificate(&self, id: &str) -> String {
        self.below(&format!("cert/{id}"))
    }

    /// The same certificate with another chain (RFC 8555 §7.4.2); they count from 1.
    pub(super) fn alternate(&self, certificate_id: &str, number: usize) -> String {
        self.below(&format!("cert/{certificate_id}/{number}"))
    }

    /// A `Link` header's value; written without spaces, as older clients expect it.
    #[expect(clippy::unused_self, reason = "it reads as one of the links")]
    pub(super) fn relation(&self, relation: &str, url: &str) -> String {
        format!("<{url}>;rel=\"{relation}\"")
    }
}

/// Whether a text may be an id of ours: base64url (`entropy.rs`). What cannot be one is not looked up,
/// so that no database has to say what it makes of U+0000.
pub(super) fn may_be_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}
