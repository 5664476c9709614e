//! What an account may have by the external account that it is bound to (RFC 8555 §7.3.4).

use super::NamePattern;
use crate::acme::account::Binding;
use crate::acme::identifier::Identifier;

/// Whether the key that bound the account allows the identifier. A pattern that cannot be read
/// allows nothing.
///
/// # Errors
/// Why not, as a sentence.
pub(crate) fn check_binding(
    binding: Option<&Binding>,
    identifier: &Identifier,
) -> Result<(), String> {
    let Some(Binding { kid, allowed, .. }) = binding else { return Ok(()) };
    let covers =
        |text: &String| text.parse::<NamePattern>().is_ok_and(|pattern| pattern.covers(identifier));
    if allowed.is_empty() || allowed.iter().any(covers) {
        return Ok(());
    }
    Err(format!(
        "{identifier} is not among the names that accounts of the external account key {kid} may \
         have: {}",
        allowed.join(", ")
    ))
}
