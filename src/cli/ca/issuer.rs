//! The CA that signs: its certificate in a file, its key in a token.

use std::path::PathBuf;
use std::rc::Rc;

use super::super::audit::note_ceremony;
use super::super::token::{Id, OpenToken, Tokens};
use super::super::transcript::Transcript;
use super::super::{Failure, files};
use crate::ledger::Kind;
use crate::signer::pkcs11::Pkcs11Signer;
use crate::x509::algorithm::SignatureAlgorithm;
use crate::x509::chain::Chain;

#[derive(Clone, Debug, clap::Args)]
#[group(id = "issuer")]
pub(super) struct Arguments {
    /// The `CKA_ID` of the issuer's key in hex
    #[arg(long, value_name = "HEX", value_parser = Id::parse)]
    issuer_id: Id,
    /// The issuer's certificate, then those above it (PEM)
    #[arg(long, value_name = "FILE")]
    issuer_cert: PathBuf,
    /// The name of the [[hsm]] with the issuer's token, where there are several [default: that of --hsm]
    #[arg(long, value_name = "NAME")]
    issuer_hsm: Option<String>,
}

/// An issuer whose key is in its token and fits its certificate.
pub(super) struct Issuer {
    pub(super) chain: Chain,
    pub(super) algorithm: SignatureAlgorithm,
    open: Rc<OpenToken>,
    id: Id,
}

impl Issuer {
    /// Finds certificate and key; nothing is signed yet. `beside` is the new CA's token.
    pub(super) fn find(
        tokens: &Tokens,
        arguments: &Arguments,
        beside: Option<&Rc<OpenToken>>,
        transcript: &mut Transcript,
    ) -> Result<Self, Failure> {
        let chain = files::chain(&arguments.issuer_cert, "--issuer-cert")?;
        let open = match (&arguments.issuer_hsm, beside) {
            (None, Some(beside)) => Rc::clone(beside),
            (name, _) => tokens.open(name.as_deref())?,
        };
        if beside.is_none_or(|beside| beside.hsm.name != open.hsm.name) {
            transcript.token("Token of the issuer", &open)?;
        }
        let id = arguments.issuer_id.clone();
        let key = open.token.public_key(&id.0).map_err(Failure::failed)?;
        let expected = chain.issuer().public_key();
        if key != *expected {
            return Err(Failure::Failed(format!(
                "the key with CKA_ID {id} has key id {}, and the issuer's certificate in {} is for key id \
                 {}: they do not belong together; check --issuer-id and --issuer-cert",
                key.key_identifier_hex(),
                arguments.issuer_cert.display(),
                expected.key_identifier_hex()
            )));
        }
        let algorithm = SignatureAlgorithm::default_for(key.key_type());
        say!(
            "issuer {}, until {}: {} key with CKA_ID {id} found on the token {:?}",
            chain.issuer().subject(),
            crate::clock::Timestamp::from_unix_s(chain.issuer().not_after_s()),
            key.key_type(),
            open.token.label()
        );
        Ok(Self { chain, algorithm, open, id })
    }

    /// The key, once it has made a test signature.
    pub(super) fn signer(&self, tokens: &Tokens) -> Result<Pkcs11Signer, Failure> {
        let key = self.chain.issuer().public_key();
        note_ceremony(tokens, Kind::KeyUsed, (&self.open.token, &self.id), key);
        tokens.signer(&self.open, &self.id, key)
    }

    pub(super) fn tell(&self, transcript: &mut Transcript) -> Result<(), Failure> {
        let key = self.chain.issuer().public_key();
        transcript.key("Key of the issuer", &self.open, &self.id.0, key)?;
        transcript.certificate("Certificate of the issuer", self.chain.issuer().der())
    }
}
