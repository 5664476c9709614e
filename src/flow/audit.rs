//! The audit trail is sealed, and its end signed from time to time.

use std::collections::HashMap;
use std::time::Duration;

use super::{Context, Error};
use crate::clock::Timestamp;
use crate::ledger::{Actor, Checkpoint, Entry, Head, Kind};
use crate::signer::Health;
use crate::store::{End, Sealed, SignedCheckpoint};
use crate::x509::algorithm::SignatureAlgorithm;
use crate::x509::chain::Chain;
use crate::x509::pem;

/// After so many entries the end of the chain is signed,
const ENTRIES: i64 = 10_000;
/// and after this time, where there was any entry.
const INTERVAL: Duration = Duration::from_secs(600);
/// After a signature that could not be had.
const PAUSE: Duration = Duration::from_secs(30);
/// Checkpoints that are read at once.
const CHECKPOINTS: i64 = 100;

/// When the end of the chain was last signed, as far as this instance knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoints {
    position: i64,
    /// Not again before.
    next: Timestamp,
}

impl Checkpoints {
    /// As the database has it.
    pub(crate) async fn read(context: &Context) -> Result<Self, Error> {
        let last = context.store.last_checkpoint().await?;
        let next = context.clock.now().plus(INTERVAL);
        Ok(Self { position: last.map_or(0, |last| last.position), next })
    }
}

/// Seals what is pending, unless another instance does, or the chain is not what it was.
pub(crate) async fn seal(context: &Context) -> Result<(), Error> {
    know_end(context).await?;
    loop {
        match context.store.seal(context.clock.now()).await? {
            Sealed::Entries(_) => {}
            Sealed::Broken(position) => {
                tell_whether_broken(context, Some(position));
                return Ok(());
            }
            Sealed::Nothing | Sealed::Elsewhere => {
                tell_whether_broken(context, None);
                return Ok(());
            }
        }
    }
}

/// What a CA's key has signed of the chain is where this process begins to watch it; later it knows more
/// by itself. Where nothing was signed yet, it begins at the beginning.
async fn know_end(context: &Context) -> Result<(), Error> {
    if context.store.knows_end() {
        return Ok(());
    }
    let authorities = context.authorities.load_full();
    let spkis: Vec<_> = authorities
        .iter()
        .map(|authority| authority.chain.issuer().public_key().spki().to_vec())
        .collect();
    let mut before = i64::MAX;
    loop {
        let page = context.store.checkpoints_before(before, CHECKPOINTS).await?;
        for signed in &page {
            before = signed.position;
            if let Ok((head, true)) = check_checkpoint(signed, &spkis) {
                context.store.know_end(&head);
                return Ok(());
            }
        }
        if page.is_empty() {
            context.store.know_end(&Head::genesis());
            return Ok(());
        }
    }
}

/// What a checkpoint says of the chain, where it is signed rightly, and whether by one of these keys.
pub(crate) fn check_checkpoint(
    signed: &SignedCheckpoint,
    spkis: &[Vec<u8>],
) -> Result<(Head, bool), &'static str> {
    let says = Checkpoint::read(&signed.statement)
        .filter(|says| says.head.position == signed.position)
        .ok_or("it does not say what a checkpoint of its position says")?;
    let chain = Chain::from_pem(&signed.certificate)
        .map_err(|_| "the certificate beside it cannot be read")?;
    let key = chain.issuer().public_key();
    let algorithm = SignatureAlgorithm::from_name(&signed.algorithm, key.key_type())
        .ok_or("its signature is of an algorithm that does not fit the key")?;
    if !key.verify(algorithm, signed.statement.as_bytes(), &signed.signature) {
        return Err("its signature is wrong");
    }
    Ok((says.head, spkis.iter().any(|spki| spki == key.spki())))
}

fn tell_whether_broken(context: &Context, broken: Option<i64>) {
    let was = context.metrics.audit.show_broken(broken.is_some());
    match broken {
        Some(position) if !was => tracing::error!(
            position,
            "the audit trail was changed in the database from this position on: it is neither sealed \
             nor signed any more, and entries wait; run `kipuka audit verify`, find out who can write \
             to the database, and restore the trail from a backup"
        ),
        None if was => tracing::info!("the audit trail is again what it was, and is sealed"),
        _ => {}
    }
}

/// Signs the end of the chain where it is time, if this instance is the one that seals.
pub(crate) async fn checkpoint_when_due(
    context: &Context,
    checkpoints: &mut Checkpoints,
) -> Result<(), Error> {
    let trail = context.store.trail().await?;
    let now = context.clock.now();
    let new = trail.head.position - checkpoints.position;
    if !context.store.seals(&trail) || new <= 0 || (new < ENTRIES && now < checkpoints.next) {
        return Ok(());
    }
    match checkpoint(context).await? {
        Some(signed) => {
            *checkpoints = Checkpoints { position: signed.position, next: now.plus(INTERVAL) };
        }
        // Not at once again, also where there are many entries.
        None => checkpoints.next = now.plus(PAUSE),
    }
    Ok(())
}

/// Signs the end of the chain with the key of the first CA that signs; `None` where there is none, or
/// nothing to sign, or the chain is not what it was.
pub(crate) async fn checkpoint(context: &Context) -> Result<Option<SignedCheckpoint>, Error> {
    know_end(context).await?;
    let head = match context.store.end().await? {
        End::Whole(trail) => trail.head,
        End::Broken(position) => {
            tell_whether_broken(context, Some(position));
            return Ok(None);
        }
    };
    if head.position == 0 {
        return Ok(None);
    }
    for authority in context.authorities.load_full().iter() {
        if authority.signer.health() != Health::Up {
            continue;
        }
        let checkpoint = Checkpoint::new(&head, &authority.id, context.clock.now());
        match authority.sign_checkpoint(&checkpoint).await {
            Ok(signature) => {
                let signed = SignedCheckpoint {
                    position: head.position,
                    statement: checkpoint.text().to_owned(),
                    algorithm: authority.signer.algorithm().to_string(),
                    signature,
                    certificate: pem::certificate(authority.chain.issuer().der()),
                };
                context.store.keep_checkpoint(&signed).await?;
                // In the log it is out of the reach of whoever can write to the database.
                tracing::info!(
                    ca.id = authority.id,
                    position = head.position,
                    hash = head.hash,
                    "audit checkpoint signed"
                );
                return Ok(Some(signed));
            }
            Err(error) => {
                tracing::warn!(ca.id = authority.id, %error, "the audit checkpoint was not signed");
            }
        }
    }
    Ok(None)
}

/// How the keys of the CAs were when this was last asked, by CA: why, where one does not sign.
#[derive(Debug, Default)]
pub(crate) struct KeysSeen(HashMap<String, Option<String>>);

/// Notes which keys were lost and found since.
pub(crate) async fn note_keys(context: &Context, seen: &mut KeysSeen) -> Result<(), Error> {
    for authority in context.authorities.load_full().iter() {
        let why = match authority.signer.health() {
            Health::Up => None,
            Health::Down(why) => Some(why),
        };
        let before = seen.0.get(&authority.id).cloned().unwrap_or_default();
        if before.is_some() != why.is_some() {
            let kind = if why.is_some() { Kind::KeyLost } else { Kind::KeyFound };
            let key = authority.signer.describe();
            let entry = Entry::new(kind, Actor::Kipuka, key, context.clock.now())
                .ca(&authority.id)
                .with("why", why.clone());
            context.store.note_alone(&entry).await?;
        }
        seen.0.insert(authority.id.clone(), why);
    }
    Ok(())
}
