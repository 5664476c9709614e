//! The audit trail's entries, and their way into the chain.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use data_encoding::HEXLOWER;

use super::db::{Done, Row as DbRow, Statement, values};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::ledger::{ChainCheck, Entry, Head, Row};
use crate::telemetry::metrics::AuditFigures;

/// Entries that are sealed in one transaction at most.
const BATCH: i64 = 500;
/// How long whoever sealed last goes on being the one who seals.
const SEALER_LEASE: Duration = Duration::from_secs(10);
/// No clock is so far ahead; a lease that claims to be is nobody's.
const LONGEST_LEASE: Duration = Duration::from_secs(120);

/// What became of an attempt to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// Nothing is pending.
    Nothing,
    /// Another instance seals.
    Elsewhere,
    /// So many; more may be pending.
    Entries(usize),
    /// The chain is not what this process knows of it, from this position on: nothing is added to it.
    Broken(i64),
}

/// Where the chain ends, as far as this process can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on from what this process knew of it.
    Whole(Trail),
    /// From this position on it does not.
    Broken(i64),
}

/// The end of the chain, and who seals until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trail {
    pub(crate) head: Head,
    pub(crate) sealer: String,
    pub(crate) sealer_until: Timestamp,
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedCheckpoint {
    pub(crate) position: i64,
    pub(crate) statement: String,
    /// As `SignatureAlgorithm` writes itself.
    pub(crate) algorithm: String,
    pub(crate) signature: Vec<u8>,
    /// PEM: that of the CA whose key signed.
    pub(crate) certificate: String,
}

/// By the index of the ids: SQLite would look through all entries for each place once its statistics are
/// of a moment when there were few.
pub(super) const KEEP_ON_SQLITE: &str = "INSERT INTO audit_log (position, id, entry, hash) \
    SELECT json_extract(j.value, '$[0]'), p.id, p.entry, json_extract(j.value, '$[2]') \
    FROM json_each($1) j CROSS JOIN audit_pending p INDEXED BY sqlite_autoindex_audit_pending_1 \
    ON p.id = json_extract(j.value, '$[1]')";

/// Who writes entries: this process.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// As entries name it.
    pub(super) name: Arc<str>,
    /// In the ids of its entries.
    tag: Arc<str>,
    written: Arc<AtomicU32>,
    /// The last end of the chain that this process has sealed or followed: whoever can write to the
    /// database cannot change it. `None` where it knows none yet.
    known: Arc<Mutex<Option<Head>>>,
}

impl Origin {
    pub(super) fn draw() -> Result<Self, StoreError> {
        let tag = HEXLOWER.encode(&Entropy.bytes::<8>()?);
        let tag: Arc<str> = tag.into();
        Ok(Self { name: Arc::clone(&tag), tag, written: Arc::default(), known: Arc::default() })
    }

    /// Of all processes no two give the same, and those that are given later come later, as far as
    /// clocks agree: sealing keeps their order, and the database appends them at the end of its index.
    fn id(&self, entry: &Entry) -> String {
        let written = self.written.fetch_add(1, Ordering::Relaxed);
        format!("{:012x}{written:08x}{}", entry.at.unix_ms().max(0), self.tag)
    }

    fn known(&self) -> Option<Head> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Never back to one before.
    fn know(&self, head: &Head) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.position < head.position) {
            *known = Some(head.clone());
        }
    }
}

impl Store {
    /// The same store, whose entries say that it was this instance.
    pub(crate) fn called(mut self, instance: &str) -> Self {
        self.origin.name = Arc::from(format!("{instance} {}", self.origin.tag));
        self
    }

    /// Writes the entry; for a transaction that does what it says.
    pub(super) fn note(&self, entry: &Entry) -> Statement {
        let insert = "INSERT INTO audit_pending (id, entry) VALUES ($1, $2)";
        Statement::new(insert, values![self.origin.id(entry), entry.text(&self.origin.name)])
    }

    /// Writes an entry of something that changes no other row.
    pub(crate) async fn note_alone(&self, entry: &Entry) -> Result<(), StoreError> {
        self.db.transact(vec![self.note(entry)]).await.map(drop)
    }

    /// Gives entries that are pending their places in the chain: moves them from where decisions write
    /// them to the end of the log. One instance does so at a time, for as long as it goes on; the end of
    /// the chain is compared and set, so that no two could ever write one position. What is not the chain
    /// that this process knows gets nothing added.
    pub(crate) async fn seal(&self, now: Timestamp) -> Result<Sealed, StoreError> {
        let select = "SELECT h.position, h.hash, h.sealer, h.sealer_until, p.id, p.entry, \
                      l.hash FROM audit_head h LEFT JOIN audit_log l ON l.position = h.position \
                      LEFT JOIN (SELECT id, entry FROM audit_pending \
                      ORDER BY id LIMIT $1) p ON 1 = 1 WHERE h.name = 'trail' ORDER BY p.id";
        let rows = self.db.read(select, values![BATCH]).await?;
        let trail = trail_of(rows.first())?;
        let last = rows.first().map(|row| row.optional_text(6)).transpose()?.flatten();
        if let Some(broken) = self.follow(&trail.head, last.as_deref()).await? {
            return Ok(Sealed::Broken(broken));
        }
        let mut places = Vec::with_capacity(rows.len());
        let mut head = trail.head.clone();
        for row in &rows {
            let (Some(id), Some(entry)) = (row.optional_text(4)?, row.optional_text(5)?) else {
                return Ok(Sealed::Nothing);
            };
            head = head.then(&id, &entry);
            places.push(serde_json::json!([head.position, id, head.hash]));
        }
        let me = &*self.origin.name;
        let busy = trail.sealer_until >= now && trail.sealer_until <= now.plus(LONGEST_LEASE);
        if trail.sealer != me && busy {
            return Ok(Sealed::Elsewhere);
        }
        let sealed = places.len();
        let count = i64::try_from(sealed).unwrap_or(i64::MAX);
        let places = serde_json::Value::from(places).to_string();
        let advance = "UPDATE audit_head SET position = $3, hash = $4, sealer = $5, \
                       sealer_until = $6 WHERE name = 'trail' AND position = $1 AND hash = $2 \
                       AND sealer = $7 AND sealer_until = $8";
        let keep = self.db.pick(
            KEEP_ON_SQLITE,
            "INSERT INTO audit_log (position, id, entry, hash) \
             SELECT (j->>0)::bigint, p.id, p.entry, j->>2 \
             FROM json_array_elements($1::json) j JOIN audit_pending p ON p.id = j->>1",
        );
        // Not one of them may be missing: the hashes behind it would be of what is not there.
        let clear = self.db.pick(
            "DELETE FROM audit_pending WHERE id IN (SELECT json_extract(value, '$[1]') \
             FROM json_each($1)) AND (SELECT COUNT(*) FROM audit_log WHERE position > $2) = $3",
            "DELETE FROM audit_pending WHERE id IN (SELECT j->>1 \
             FROM json_array_elements($1::json) j) \
             AND (SELECT COUNT(*) FROM audit_log WHERE position > $2) = $3",
        );
        let (from, until) = (&trail.head, now.plus(SEALER_LEASE));
        let done = self.db.transact(vec![
            Statement::required(
                advance,
                values![
                    from.position,
                    from.hash.as_str(),
                    head.position,
                    head.hash.as_str(),
                    me,
                    until,
                    trail.sealer.as_str(),
                    trail.sealer_until,
                ],
            ),
            Statement::new(keep, values![places.as_str()]),
            Statement::required(clear, values![places.as_str(), from.position, count]),
        ]);
        if done.await? != Done::Committed {
            return Ok(Sealed::Elsewhere);
        }
        self.origin.know(&head);
        Ok(Sealed::Entries(sealed))
    }

    /// Whether this process knows an end of the chain.
    pub(crate) fn knows_end(&self) -> bool {
        self.origin.known().is_some()
    }

    /// Takes an end of the chain for true that somebody has vouched for: what is sealed and signed from
    /// now on must go on from there.
    pub(crate) fn know_end(&self, head: &Head) {
        self.origin.know(head);
    }

    /// Where the chain ends, if it goes on from what this process knows of it.
    pub(crate) async fn end(&self) -> Result<End, StoreError> {
        let trail = self.trail().await?;
        let last = self.sealed_entries(trail.head.position - 1, 1).await?;
        let last = last.first().filter(|row| row.position == trail.head.position);
        let broken = self.follow(&trail.head, last.map(|row| row.hash.as_str())).await?;
        Ok(broken.map_or(End::Whole(trail), End::Broken))
    }

    /// Follows the chain from the end that this process knows to the one that is noted, whose row has
    /// this hash; the position from which on it does not fit, if it does not.
    async fn follow(&self, head: &Head, last: Option<&str>) -> Result<Option<i64>, StoreError> {
        let Some(known) = self.origin.known() else { return Ok(None) };
        if head.position < known.position {
            return Ok(Some(head.position + 1));
        }
        if head.position > 0 && last != Some(&head.hash) {
            return Ok(Some(head.position));
        }
        if head.position == known.position {
            return Ok((head.hash != known.hash).then_some(known.position));
        }
        let mut end = known.clone();
        if known.position > 0 {
            let row = self.sealed_entries(known.position - 1, 1).await?;
            if row
                .first()
                .is_none_or(|row| (row.position, &row.hash) != (known.position, &known.hash))
            {
                return Ok(Some(known.position));
            }
        }
        while end.position < head.position {
            let mut check = ChainCheck::after(end.clone());
            let rows = self.sealed_entries(end.position, BATCH).await?;
            // Behind the end that was noted there may be more by now.
            for row in rows.iter().take_while(|row| row.position <= head.position) {
                if check.row(row).is_some() {
                    return Ok(Some(row.position));
                }
            }
            if check.head().position == end.position {
                return Ok(Some(end.position + 1));
            }
            end = check.head().clone();
        }
        if end != *head {
            return Ok(Some(head.position));
        }
        self.origin.know(head);
        Ok(None)
    }

    /// Seals what this process noted, if it did and nobody else seals: for commands, whose entries would
    /// otherwise wait for the next start of a server.
    pub(crate) async fn seal_own(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.origin.written.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        while let Sealed::Entries(_) = self.seal(now).await? {}
        self.leave_sealing().await
    }

    /// Lets another instance seal, from now on.
    pub(crate) async fn leave_sealing(&self) -> Result<(), StoreError> {
        let update = "UPDATE audit_head SET sealer = '', sealer_until = 0 \
                      WHERE name = 'trail' AND sealer = $1";
        self.db.transact(vec![Statement::new(update, values![&*self.origin.name])]).await.map(drop)
    }

    /// Where the chain ends.
    pub(crate) async fn trail(&self) -> Result<Trail, StoreError> {
        let select = "SELECT position, hash, sealer, sealer_until FROM audit_head \
                      WHERE name = 'trail'";
        trail_of(self.db.read(select, Vec::new()).await?.first())
    }

    /// How the trail is, for the metrics: counted to a limit only, since it is asked for again and again.
    pub(crate) async fn audit_figures(&self, now: Timestamp) -> Result<AuditFigures, StoreError> {
        let select = "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM audit_pending LIMIT 10000) p), \
                      (SELECT MIN(id) FROM audit_pending), \
                      (SELECT position FROM audit_head WHERE name = 'trail'), \
                      (SELECT MAX(position) FROM audit_checkpoints)";
        let rows = self.db.read(select, Vec::new()).await?;
        let gone = || StoreError::Corrupt { table: "audit_head", id: "trail".to_owned() };
        let row = rows.first().ok_or_else(gone)?;
        // An id begins with the time of its entry.
        let oldest = row.optional_text(1)?;
        let at_ms = oldest.and_then(|id| i64::from_str_radix(id.get(..12)?, 16).ok());
        Ok(AuditFigures {
            pending: row.int(0)?,
            oldest_pending: at_ms
                .map_or(Duration::ZERO, |at| now.since(Timestamp::from_unix_ms(at))),
            position: row.optional_int(2)?.ok_or_else(gone)?,
            checkpoint: row.optional_int(3)?.unwrap_or(0),
        })
    }

    /// Whether this instance is the one that seals.
    pub(crate) fn seals(&self, trail: &Trail) -> bool {
        trail.sealer == *self.origin.name
    }

    /// The rows of the chain behind a position.
    pub(crate) async fn sealed_entries(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let select = "SELECT position, id, entry, hash FROM audit_log WHERE position > $1 \
                      ORDER BY position LIMIT $2";
        let rows = self.db.read(select, values![after, limit]).await?;
        let row = |row: &DbRow| {
            let (position, id) = (row.int(0)?, row.text(1)?);
            Ok(Row { position, id, entry: row.text(2)?, hash: row.text(3)? })
        };
        rows.iter().map(row).collect()
    }

    /// Entries that wait to be sealed, by id, behind one.
    pub(crate) async fn pending_entries(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let select = "SELECT id, entry FROM audit_pending WHERE id > $1 ORDER BY id LIMIT $2";
        let rows = self.db.read(select, values![after, limit]).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    }

    /// Keeps a checkpoint, unless there is one of its position.
    pub(crate) async fn keep_checkpoint(&self, one: &SignedCheckpoint) -> Result<(), StoreError> {
        let insert = "INSERT INTO audit_checkpoints (position, statement, algorithm, signature, \
                      certificate) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (position) DO NOTHING";
        let values = values![
            one.position,
            one.statement.as_str(),
            one.algorithm.as_str(),
            one.signature.as_slice(),
            one.certificate.as_str(),
        ];
        self.db.transact(vec![Statement::new(insert, values)]).await.map(drop)
    }

    /// Checkpoints behind a position, in their order.
    pub(crate) async fn checkpoints(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<SignedCheckpoint>, StoreError> {
        let select = "SELECT position, statement, algorithm, signature, certificate \
                      FROM audit_checkpoints WHERE position > $1 ORDER BY position LIMIT $2";
        let rows = self.db.read(select, values![after, limit]).await?;
        rows.iter().map(checkpoint_of).collect()
    }

    /// Checkpoints before a position, the newest first.
    pub(crate) async fn checkpoints_before(
        &self,
        before: i64,
        limit: i64,
    ) -> Result<Vec<SignedCheckpoint>, StoreError> {
        let select = "SELECT position, statement, algorithm, signature, certificate \
                      FROM audit_checkpoints WHERE position < $1 ORDER BY position DESC LIMIT $2";
        let rows = self.db.read(select, values![before, limit]).await?;
        rows.iter().map(checkpoint_of).collect()
    }

    pub(crate) async fn last_checkpoint(&self) -> Result<Option<SignedCheckpoint>, StoreError> {
        let select = "SELECT position, statement, algorithm, signature, certificate \
                      FROM audit_checkpoints ORDER BY position DESC LIMIT 1";
        self.db.read(select, Vec::new()).await?.first().map(checkpoint_of).transpose()
    }
}

fn trail_of(row: Option<&DbRow>) -> Result<Trail, StoreError> {
    let gone = || StoreError::Corrupt { table: "audit_head", id: "trail".to_owned() };
    let row = row.ok_or_else(gone)?;
    Ok(Trail {
        head: Head { position: row.int(0)?, hash: row.text(1)? },
        sealer: row.text(2)?,
        sealer_until: row.time(3)?,
    })
}

fn checkpoint_of(row: &DbRow) -> Result<SignedCheckpoint, StoreError> {
    Ok(SignedCheckpoint {
        position: row.int(0)?,
        statement: row.text(1)?,
        algorithm: row.text(2)?,
        signature: row.blob(3)?,
        certificate: row.text(4)?,
    })
}
