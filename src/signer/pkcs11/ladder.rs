//! One signature's way up the ladder: a new session, a new login, a new initialisation of the
//! library, and then no further.
//!
//! Signing the same bytes twice is harmless: only one signature leaves, whichever call made it.

use super::super::verified;
use super::SigningKey;
use super::recovery::{Fault, Remedy};
use super::session_pool::{SessionSource, TokenSession};
use crate::telemetry::metrics::{HsmStep, TokenMetrics};
use crate::x509::algorithm::VerifiedSignature;

/// While other threads get signatures, the fault is not the token's, and a new session is tried this
/// often before the job is put off.
const MOST_TRIES: u32 = 8;

/// What the rungs are tried with.
pub(super) struct Ladder<'a, S: SessionSource> {
    pub(super) source: &'a S,
    pub(super) metrics: &'a TokenMetrics,
    /// How many signatures the token gave so far, to any thread.
    pub(super) signed: &'a dyn Fn() -> u64,
    /// Whether other keys of the token are well.
    pub(super) others_are_well: &'a dyn Fn() -> bool,
    /// Whether nobody waits for the result any more.
    pub(super) pointless: &'a dyn Fn() -> bool,
}

impl<S: SessionSource> Ladder<'_, S> {
    /// Signs in the session that was `kept`, or in another, which is kept if it signed rightly.
    ///
    /// # Errors
    /// The fault that the last rung ended with; [`Remedy::FewerSessions`] always at once.
    pub(super) fn climb(
        &self,
        kept: &mut Option<S::Session>,
        key: &SigningKey,
        message: &[u8],
    ) -> Result<VerifiedSignature, GivenUp> {
        let signed_before = (self.signed)();
        let (mut tries, mut log_in, mut reinitialized) = (0, false, false);
        loop {
            let (session, fault) = match self.once(kept, key, message, log_in) {
                Ok(signature) => return Ok(signature),
                Err(failed) => failed,
            };
            tries += 1;
            self.metrics.error(fault.code());
            let alone = (self.signed)() == signed_before;
            let given_up = GivenUp { token_wide: alone, fault };
            let fault = &given_up.fault;
            let enough = match fault.remedy {
                Remedy::Stop | Remedy::Fail | Remedy::FewerSessions => true,
                _ => tries == MOST_TRIES || (self.pointless)(),
            };
            if enough {
                return Err(given_up);
            }
            log_in = fault.remedy == Remedy::LogIn;
            let step = match fault.remedy {
                _ if !alone => HsmStep::NewSession,
                Remedy::Initialize => HsmStep::Reinitialize,
                Remedy::Reinitialize if tries > 1 => HsmStep::Reinitialize,
                _ if tries > 2 => HsmStep::Reinitialize,
                Remedy::LogIn => HsmStep::LogIn,
                _ => HsmStep::NewSession,
            };
            tracing::warn!(
                token = self.source.name(),
                session,
                fault = fault.detail,
                step = step.as_str(),
                "a call to the token failed"
            );
            self.metrics.step(step);
            if step == HsmStep::Reinitialize {
                if reinitialized {
                    return Err(given_up);
                }
                reinitialized = true;
                if let Err(fault) = self.source.reinitialize((self.others_are_well)()) {
                    self.metrics.error(fault.code());
                    tracing::warn!(
                        token = self.source.name(),
                        fault = fault.detail,
                        "the library was not initialised anew"
                    );
                    return Err(given_up);
                }
            }
        }
    }

    fn once(
        &self,
        kept: &mut Option<S::Session>,
        key: &SigningKey,
        message: &[u8],
        log_in: bool,
    ) -> Result<VerifiedSignature, (Option<u64>, Fault)> {
        // Put back only after it gave a right signature.
        let mut session = match kept.take() {
            Some(session) => session,
            None => self.source.open(log_in).map_err(|fault| (None, fault))?,
        };
        let handle = session.handle();
        let signature = session.sign(key, message).map_err(|fault| (Some(handle), fault))?;
        let signature = verified(&key.public_key, key.algorithm, message.to_vec(), signature)
            .map_err(|error| (Some(handle), Fault::new(Remedy::WrongKey, error.to_string())))?;
        *kept = Some(session);
        Ok(signature)
    }
}

/// The ladder has no further rung.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) fault: Fault,
    /// No thread got a signature from the token in the meantime.
    pub(super) token_wide: bool,
}
