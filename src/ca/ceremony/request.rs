//! A request for a CA certificate, for a CA elsewhere to sign.

use super::CeremonyError;
use crate::signer::Signer;
use crate::x509::lint::{LintedRequest, lint_request};
use crate::x509::request::{CaRequest, ReceivedRequest};

/// A request that its key may sign, once.
#[derive(Debug)]
pub(crate) struct PreparedRequest {
    linted: LintedRequest,
}

/// Decides what the request says and has the lint read it.
pub(crate) fn prepare_request(new: &CaRequest<'_>) -> Result<PreparedRequest, CeremonyError> {
    let linted = lint_request(new.info()?, new).map_err(CeremonyError::Lint)?;
    Ok(PreparedRequest { linted })
}

impl PreparedRequest {
    /// Has the key sign, and reads the request as the CA will that gets it. Returns its DER.
    pub(crate) async fn sign(self, signer: &dyn Signer) -> Result<Vec<u8>, CeremonyError> {
        let signature = signer.sign(self.linted.der().to_vec()).await?;
        let request = self.linted.assemble(&signature)?;
        ReceivedRequest::from_der(&request)?;
        Ok(request)
    }
}
