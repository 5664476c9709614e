//! Profiles that orders can name (draft-ietf-acme-profiles).

use super::Authority;
use crate::policy::key_type_name;
use crate::x509::algorithm::KeyType;
use crate::x509::profile::Profile;

/// One of the profiles that a CA offers.
#[derive(Clone, Debug)]
pub(crate) struct NamedProfile {
    pub(crate) name: String,
    /// For people who choose.
    pub(crate) description: String,
    /// As `[policy] key_types` names them; empty is any.
    pub(crate) key_types: Vec<&'static str>,
    pub(crate) profile: Profile,
}

impl NamedProfile {
    /// Whether a certificate by this profile may have a key of this type.
    pub(crate) fn takes(&self, key_type: KeyType) -> bool {
        let name = key_type_name(key_type);
        self.key_types.is_empty() || self.key_types.iter().any(|known| *known == name)
    }
}

impl Authority {
    /// The profile of this name, where it is still offered.
    pub(crate) fn named_profile(&self, name: &str) -> Option<&NamedProfile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}
