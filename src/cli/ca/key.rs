//! The key of the CA to be: found in its token, or made there.

use std::rc::Rc;

use super::super::Failure;
use super::super::audit::note_ceremony;
use super::super::token::{Id, OpenToken, Tokens};
use super::super::transcript::{Transcript, warn_of_doubts};
use crate::ledger::Kind;
use crate::signer::pkcs11::Pkcs11Signer;
use crate::signer::pkcs11::keygen::{self, KeySpec};
use crate::x509::algorithm::PublicKey;

#[derive(Clone, Debug, clap::Args)]
#[group(id = "key")]
pub(super) struct Arguments {
    /// The `CKA_ID` of the CA's key in hex, such as 07
    #[arg(long, value_name = "HEX", value_parser = Id::parse)]
    pub(super) id: Id,
    /// Make the key in the same act: rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384 and so on, as
    /// `kipuka hsm keygen --type` takes it
    #[arg(long, value_name = "TYPE", requires = "label")]
    generate: Option<KeySpec>,
    /// The `CKA_LABEL` of the key that --generate makes
    #[arg(long, requires = "generate")]
    label: Option<String>,
    /// The name of the [[hsm]] with the key's token; needed where there are several
    #[arg(long, value_name = "NAME")]
    hsm: Option<String>,
}

/// The token that has the key, or is to have it.
pub(super) struct Place<'a> {
    pub(super) open: Rc<OpenToken>,
    arguments: &'a Arguments,
}

impl<'a> Place<'a> {
    pub(super) fn find(
        tokens: &Tokens,
        arguments: &'a Arguments,
        transcript: &mut Transcript,
    ) -> Result<Self, Failure> {
        let open = tokens.open(arguments.hsm.as_deref())?;
        transcript.token("Token", &open)?;
        Ok(Self { open, arguments })
    }

    /// The key that is there; `None` where it is yet to be made, and can be.
    pub(super) fn existing_key(&self) -> Result<Option<PublicKey>, Failure> {
        let (token, id) = (&self.open.token, &self.arguments.id);
        if let Some(spec) = self.arguments.generate {
            keygen::check(token, spec, &id.0).map_err(Failure::failed)?;
            return Ok(None);
        }
        let key = token.public_key(&id.0).map_err(Failure::failed)?;
        say!("{} key with CKA_ID {id} found on the token {:?}", key.key_type(), token.label());
        warn_of_doubts(token, &id.0)?;
        Ok(Some(key))
    }

    /// What --generate would do, in words.
    pub(super) fn intention(&self) -> String {
        let spec = self.arguments.generate.map_or_else(String::new, |spec| spec.to_string());
        format!(
            "would make: the {spec} key {:?} with CKA_ID {} on the token {:?}",
            self.arguments.label.as_deref().unwrap_or_default(),
            self.arguments.id,
            self.open.token.label()
        )
    }

    /// Makes the key.
    pub(super) fn make(&self) -> Result<PublicKey, Failure> {
        let (Some(spec), Some(label)) = (self.arguments.generate, &self.arguments.label) else {
            return Err(Failure::Misconfigured("kipuka: --generate names no key type".to_owned()));
        };
        let (token, id) = (&self.open.token, &self.arguments.id);
        let key = keygen::generate(token, spec, &id.0, label).map_err(Failure::failed)?;
        say!("{} key with CKA_ID {id} made on the token {:?}", key.key_type(), token.label());
        warn_of_doubts(token, &id.0)?;
        Ok(key)
    }

    /// The key, once it has made a test signature.
    pub(super) fn signer(&self, key: &PublicKey, tokens: &Tokens) -> Result<Pkcs11Signer, Failure> {
        let place = (&*self.open.token, &self.arguments.id as &dyn std::fmt::Display);
        if self.arguments.generate.is_some() {
            note_ceremony(tokens, Kind::KeyGenerated, place, key);
        }
        note_ceremony(tokens, Kind::KeyUsed, place, key);
        tokens.signer(&self.open, &self.arguments.id, key)
    }

    /// Does what comes after the key is there. Where that fails and the key was made just now, the
    /// transcript tells so: the key stays in the token.
    pub(super) fn go_on<T>(
        &self,
        mut transcript: Transcript,
        key: &PublicKey,
        rest: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(Transcript, T), Failure> {
        match rest() {
            Ok(done) => Ok((transcript, done)),
            Err(failure) if self.arguments.generate.is_some() => {
                // The first reason is the one that matters.
                let told = self.tell(&mut transcript, key);
                let _ = told.and_then(|()| transcript.end_early(&failure));
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    pub(super) fn tell(&self, transcript: &mut Transcript, key: &PublicKey) -> Result<(), Failure> {
        let title = match self.arguments.generate {
            Some(spec) => format!("Key (made now, as {spec})"),
            None => "Key".to_owned(),
        };
        transcript.key(&title, &self.open, &self.arguments.id.0, key)
    }
}
