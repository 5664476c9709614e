//! RFC 7515, 7517 and 7638, as strict as a CA must be. josekit only verifies; what it would accept
//! is looser than what may pass here (see `docs/architecture.md`).

pub(crate) mod external_account;
pub(crate) mod jwk;
pub(crate) mod jws;
pub(crate) mod key_change;
mod members;
pub(crate) mod verify;

pub(crate) use members::check_object;
