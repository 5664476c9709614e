//! The end of the audit trail, signed.

use super::{Authority, SignFailure};
use crate::ledger::Checkpoint;

impl Authority {
    /// Has the token sign what the checkpoint says; the bytes are text, so they are no certificate and no
    /// CRL.
    pub(crate) async fn sign_checkpoint(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<u8>, SignFailure> {
        Ok(self.signer.sign(checkpoint.text().as_bytes().to_vec()).await?.into_bytes())
    }
}
