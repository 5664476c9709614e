//! `kipuka ca verify`: whether each configured CA is what its clients will take it for.

use std::path::{Path, PathBuf};

use super::super::check::{Report, places};
use super::super::token::{Tokens, with_tokens};
use super::super::{Failure, files};
use crate::app::{self, Demand};
use crate::ca::Authority;
use crate::clock::{Clock, Timestamp};
use crate::config::{Ca, Needs};
use crate::x509::chain::Chain;
use crate::x509::path;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The root that clients trust (PEM or DER) [default: the root at the end of each CA's own file]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The ids of the CAs to check [default: every [[ca]]]
    #[arg(value_name = "CA")]
    cas: Vec<String>,
}

pub(super) fn verify(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let roots = match &arguments.root {
        Some(path) => Some(files::certificates(path, "--root")?),
        None => None,
    };
    with_tokens(config, Needs::Serve, |tokens| {
        let configured = &tokens.config.cas;
        if let Some(unknown) =
            arguments.cas.iter().find(|id| !configured.iter().any(|ca| ca.id == **id))
        {
            let file = tokens.config.file.display();
            return Err(Failure::Misconfigured(format!(
                "{file}: there is no [[ca]] with the id {unknown:?}"
            )));
        }
        let mut report = Report::default();
        for ca in configured
            .iter()
            .filter(|ca| arguments.cas.is_empty() || arguments.cas.contains(&ca.id))
        {
            // Each place of its key by itself, as `kipuka check` does it.
            for (ca, place) in places(ca) {
                match look(tokens, &ca, place, roots.as_deref())? {
                    Ok(found) => report.ok(format!("CA {:?}", ca.id), found),
                    Err(wrong) => report.wrong(wrong),
                }
            }
        }
        report.end()
    })
}

/// What is in order, or what is not. What keeps the whole command from going on is a [`Failure`].
fn look(
    tokens: &Tokens,
    ca: &Ca,
    place: Option<&str>,
    roots: Option<&[Vec<u8>]>,
) -> Result<Result<String, String>, Failure> {
    let mut open = app::Tokens::new();
    if let Some(name) = place {
        match tokens.open(Some(name)) {
            Ok(token) => drop(open.insert(name.to_owned(), token.token.clone())),
            // To go on would be to try the PIN again.
            Err(refused @ Failure::Misconfigured(_)) => return Err(refused),
            Err(failed) => return Ok(Err(format!("CA {:?}: {}", ca.id, failed.text()))),
        }
    }
    let now = Clock::System.now();
    let opened = app::open_authority(ca, &open, Demand::OneSigns, None, now);
    let authority = match tokens.runtime.block_on(opened) {
        Ok(authority) => authority,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // `open_authority` has had a key in a token sign already; a key file has yet to.
    if let Err(error) = tokens.runtime.block_on(authority.signer.sign(b"kipuka ca verify".to_vec()))
    {
        return Ok(Err(format!("CA {:?}: {error}", ca.id)));
    }
    let verified = trusted(&authority.chain, roots, now);
    Ok(verified
        .map(|root| found(&authority, &root))
        .map_err(|why| format!("CA {:?}: {}: {why}", ca.id, ca.cert.display())))
}

/// The root that the chain leads to, in words.
fn trusted(chain: &Chain, roots: Option<&[Vec<u8>]>, now: Timestamp) -> Result<String, String> {
    let Some(roots) = roots else {
        let top = chain.certificates().last().filter(|top| top.is_self_signed());
        let top = top.ok_or("the root is not in it; name it with --root")?;
        path::verify(chain, top.der(), now.unix_s()).map_err(|error| error.to_string())?;
        return Ok(format!("{} (in its own file)", top.subject()));
    };
    let mut why = String::new();
    for root in roots {
        match path::verify(chain, root, now.unix_s()) {
            Ok(()) => {
                let root = crate::x509::description::Description::of(root);
                return Ok(root.map(|root| root.subject).unwrap_or_default());
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("it does not lead to the root of --root: {why}"))
}

fn found(authority: &Authority, root: &str) -> String {
    let certificate = authority.chain.issuer();
    let usage = certificate
        .key_usage()
        .map_or_else(|| "any".to_owned(), |usage| usage.into_iter().collect::<Vec<_>>().join(", "));
    let room = path::room_below(&authority.chain)
        .map_or_else(|| "not limited".to_owned(), |room| room.to_string());
    format!(
        "{} until {}, path to {root}, key usage {usage}, path length {room}; {}, test signature verified",
        certificate.subject(),
        Timestamp::from_unix_s(authority.chain.not_after_s()),
        authority.signer.describe(),
    )
}
