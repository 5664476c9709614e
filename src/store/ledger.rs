//! The audit trail's entries, and their way into the chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::db::{Statement, values};
use super::{Store, StoreError};
use crate::entropy::Entropy;
use crate::ledger::Entry;

/// Who writes entries: this process.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// As entries name it.
    pub(super) name: Arc<str>,
    /// In the ids of its entries.
    tag: Arc<str>,
    written: Arc<AtomicU32>,
}

impl Origin {
    pub(super) fn draw() -> Result<Self, StoreError> {
        let tag: String = Entropy.bytes::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let tag: Arc<str> = tag.into();
        Ok(Self { name: Arc::clone(&tag), tag, written: Arc::default() })
    }

    /// Of all processes no two give the same, and those that are given later come later, as far as
    /// clocks agree: sealing keeps their order, and the database appends them at the end of its index.
    fn id(&self, entry: &Entry) -> String {
        let written = self.written.fetch_add(1, Ordering::Relaxed);
        format!("{:012x}{written:08x}{}", entry.at.unix_ms().max(0), self.tag)
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
}
