//! How control of a name is proved to a CA.

use super::Authority;
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::attestation::Roots;

pub(crate) use crate::config::CaaMode;

/// How control of a name is proved to a CA.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    /// The types of challenges that it offers.
    pub(crate) challenges: Vec<ChallengeType>,
    /// Who vouches for devices; without any, no device is believed.
    pub(crate) attestation_roots: Roots,
    /// What becomes of a certificate that CAA records do not permit (RFC 8659).
    pub(crate) caa: CaaMode,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            challenges: ChallengeType::STANDARD.to_vec(),
            attestation_roots: Roots::default(),
            caa: CaaMode::Off,
        }
    }
}

impl Authority {
    /// The challenges that can prove this identifier here; none where it cannot be had.
    pub(crate) fn challenges_for(
        &self,
        identifier: &Identifier,
    ) -> impl Iterator<Item = ChallengeType> {
        self.proof.challenges.iter().copied().filter(|kind| kind.proves(identifier))
    }

    /// Whether proofs of this type count here now; what was begun may be of one that was taken out.
    pub(crate) fn offers(&self, kind: ChallengeType) -> bool {
        self.proof.challenges.contains(&kind)
    }
}
