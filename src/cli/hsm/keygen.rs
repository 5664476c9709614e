//! `kipuka hsm keygen`.

use super::super::Failure;
use super::super::audit::note_key;
use super::super::token::{Id, Tokens};
use super::super::transcript::{self, Transcript, warn_of_doubts};
use crate::ledger::Kind;
use crate::signer::pkcs11::keygen::{self, KeySpec};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The key's `CKA_LABEL`
    #[arg(long)]
    label: String,
    /// The key's `CKA_ID` in hex, such as 07; it becomes `hsm_slot`
    #[arg(long, value_name = "HEX", value_parser = Id::parse)]
    id: Id,
    /// rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384, ec-p521, ed25519, ml-dsa-44, ml-dsa-65 or
    /// ml-dsa-87
    #[arg(long = "type", value_name = "TYPE")]
    spec: KeySpec,
    #[command(flatten)]
    transcript: transcript::Arguments,
}

pub(super) fn keygen(
    tokens: &Tokens,
    hsm: Option<&str>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let Arguments { label, id, spec, .. } = arguments;
    let mut transcript = Transcript::begin("a new key", &arguments.transcript, None, tokens)?;
    let open = tokens.open(hsm)?;
    let token = &open.token;
    transcript.token("Token", &open)?;
    if arguments.transcript.dry_run {
        keygen::check(token, *spec, &id.0).map_err(Failure::failed)?;
        say!(
            "would make: the {spec} key {label:?} with CKA_ID {id} on the token {:?}",
            token.label()
        );
        say!("Dry run: nothing was made");
        return Ok(());
    }
    let key = keygen::generate(token, *spec, &id.0, label).map_err(Failure::failed)?;
    say!(
        "{} key {label:?} made on the token {:?}; in [[ca]] write: hsm_slot = \"{id}\"",
        key.key_type(),
        token.label()
    );
    let what = format!("made, with the label {label:?}");
    note_key(tokens, Kind::KeyGenerated, (token, id), &key, &what);
    warn_of_doubts(token, &id.0)?;
    transcript.key("Key (made now)", &open, &id.0, &key)?;
    transcript.end(&[])
}
