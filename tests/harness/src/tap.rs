//! A relay before Postgres that understands what passes: it names the transactions that commit, and
//! stops at one of them, so that a test can kill whoever sent it before the commit is done, or when it
//! is done and nobody was told.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::relay::{Inspector, Relay};

/// Where at a commit it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The database does not get it.
    Before,
    /// The database has committed, and its answer does not get back.
    After,
}

pub struct Tap {
    pub relay: Relay,
    shared: Arc<Mutex<Shared>>,
    struck: watch::Receiver<u64>,
    /// How often it had struck when it was armed.
    before: u64,
}

struct Shared {
    commits: Vec<String>,
    armed: Option<(String, Moment)>,
    struck: watch::Sender<u64>,
}

impl Tap {
    pub fn start(postgres: SocketAddr) -> Self {
        let (sender, struck) = watch::channel(0);
        let shared = Shared { commits: Vec::new(), armed: None, struck: sender };
        let shared = Arc::new(Mutex::new(shared));
        let inspected = Arc::clone(&shared);
        let relay = Relay::inspected(
            &[postgres],
            Some(Arc::new(move || Box::new(Conversation::new(Arc::clone(&inspected))))),
        );
        Self { relay, shared, struck, before: 0 }
    }

    /// The transactions that changed something until now, by what they changed, in order: such as
    /// `update orders, insert certificates, insert work`.
    pub fn commits(&self) -> Vec<String> {
        self.shared.lock().unwrap().commits.clone()
    }

    /// The next transaction of this name does not get past this moment. Once.
    pub fn arm(&mut self, transaction: &str, moment: Moment) {
        self.before = *self.struck.borrow_and_update();
        self.shared.lock().unwrap().armed = Some((transaction.to_owned(), moment));
    }

    pub fn disarm(&self) {
        self.shared.lock().unwrap().armed = None;
    }

    /// Waits until the transaction came that was armed for; `false` where it does not come.
    pub async fn struck(&mut self, within: Duration) -> bool {
        let before = self.before;
        tokio::time::timeout(within, self.struck.wait_for(|count| *count > before)).await.is_ok()
    }
}

/// One connection.
struct Conversation {
    shared: Arc<Mutex<Shared>>,
    has_begun: bool,
    asked: Vec<u8>,
    answered: Vec<u8>,
    /// Prepared statements by their names.
    statements: HashMap<String, String>,
    bound: String,
    /// What the transaction that is under way has changed.
    changes: Vec<String>,
    in_transaction: bool,
    ends: bool,
    /// For each ReadyForQuery that is still to come, the transaction that it says is committed.
    awaited: VecDeque<Option<String>>,
    /// Rows that were changed since the last commit.
    changed: u64,
}

impl Conversation {
    fn new(shared: Arc<Mutex<Shared>>) -> Self {
        Self {
            shared,
            has_begun: false,
            asked: Vec::new(),
            answered: Vec::new(),
            statements: HashMap::new(),
            bound: String::new(),
            changes: Vec::new(),
            in_transaction: false,
            ends: false,
            awaited: VecDeque::new(),
            changed: 0,
        }
    }

    fn execute(&mut self, sql: &str) {
        let upper = sql.trim_start().to_ascii_uppercase();
        if upper.starts_with("BEGIN") {
            self.in_transaction = true;
        } else if upper.starts_with("COMMIT") {
            self.ends = true;
        } else if upper.starts_with("ROLLBACK") {
            self.ends = true;
            self.changes.clear();
        } else {
            self.changes.extend(changes(sql));
        }
    }

    /// What was sent until here is to be answered; returns whether it may pass.
    fn is_sent(&mut self) -> bool {
        let commits = (!self.in_transaction || self.ends) && !self.changes.is_empty();
        if self.ends {
            (self.in_transaction, self.ends) = (false, false);
        }
        let name = commits.then(|| std::mem::take(&mut self.changes).join(", "));
        let passes = name.as_deref().is_none_or(|name| self.may_pass(name, Moment::Before));
        self.awaited.push_back(name);
        passes
    }

    fn may_pass(&self, name: &str, moment: Moment) -> bool {
        let mut shared = self.shared.lock().unwrap();
        if shared.armed.as_ref().is_none_or(|(armed, when)| armed != name || *when != moment) {
            return true;
        }
        shared.armed = None;
        shared.struck.send_modify(|count| *count += 1);
        false
    }

    fn asked(&mut self, kind: u8, body: &[u8]) -> bool {
        let mut texts = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut text = || texts.next().unwrap_or_default().into_owned();
        match kind {
            b'P' => {
                let name = text();
                self.statements.insert(name, text());
            }
            b'B' => {
                let (_, name) = (text(), text());
                self.bound = self.statements.get(&name).cloned().unwrap_or_default();
            }
            b'E' => self.execute(&self.bound.clone()),
            b'Q' => {
                let sql = text();
                self.execute(&sql);
                return self.is_sent();
            }
            b'S' => return self.is_sent(),
            _ => {}
        }
        true
    }
}

impl Inspector for Conversation {
    fn to_server(&mut self, bytes: &[u8]) -> bool {
        self.asked.extend(bytes);
        if !self.has_begun {
            // The first message has no type.
            match taken(&mut self.asked, 0) {
                Some(_) => self.has_begun = true,
                None => return true,
            }
        }
        let mut passes = true;
        while let Some((kind, body)) = message(&mut self.asked) {
            passes &= self.asked(kind, &body);
        }
        passes
    }

    fn to_client(&mut self, bytes: &[u8]) -> bool {
        self.answered.extend(bytes);
        let mut passes = true;
        while let Some((kind, body)) = message(&mut self.answered) {
            if kind == b'C' {
                self.changed += rows(&body);
            }
            if kind == b'Z'
                && let Some(Some(name)) = self.awaited.pop_front()
                && std::mem::take(&mut self.changed) > 0
            {
                self.shared.lock().unwrap().commits.push(name.clone());
                passes &= self.may_pass(&name, Moment::After);
            }
        }
        passes
    }
}

/// How many rows a CommandComplete says were changed: `UPDATE 3`, `INSERT 0 1`.
fn rows(tag: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(tag);
    let mut words = text.trim_end_matches('\0').split(' ');
    match words.next() {
        Some("INSERT" | "UPDATE" | "DELETE") => words.next_back().unwrap().parse().unwrap(),
        _ => 0,
    }
}

/// Takes a message with its type out of a stream.
fn message(stream: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let kind = *stream.first()?;
    Some((kind, taken(stream, 1)?))
}

/// Takes a message whose length stands at `at`, and counts itself.
fn taken(stream: &mut Vec<u8>, at: usize) -> Option<Vec<u8>> {
    let length = stream.get(at..at + 4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    (stream.len() >= at + length).then(|| stream.drain(..at + length).skip(at + 4).collect())
}

/// What a statement changes: `insert orders`, of one with several parts each.
fn changes(sql: &str) -> Vec<String> {
    let words: Vec<_> = sql.split_whitespace().collect();
    let change = |(at, word): (usize, &&str)| {
        let before = at.checked_sub(1).map_or("", |at| words[at]);
        let verb = word.trim_start_matches('(').to_ascii_uppercase();
        let (verb, table) = match verb.as_str() {
            "INSERT" => ("insert", words.get(at + 2)?),
            "DELETE" => ("delete", words.get(at + 2)?),
            // Not `ON CONFLICT … DO UPDATE`, nor `FOR UPDATE`.
            "UPDATE" if !matches!(before, "DO" | "FOR") => ("update", words.get(at + 1)?),
            _ => return None,
        };
        Some(format!("{verb} {}", table.trim_end_matches('(')))
    };
    words.iter().enumerate().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_what_it_changes() {
        for (sql, named) in [
            ("SELECT 1 FROM orders FOR UPDATE SKIP LOCKED", &[][..]),
            (
                "INSERT INTO work (kind) VALUES ($1) ON CONFLICT DO UPDATE SET a = 1",
                &["insert work"],
            ),
            (
                "WITH a AS (UPDATE orders SET b = 1 RETURNING 1) INSERT INTO work SELECT 1",
                &["update orders", "insert work"],
            ),
            ("DELETE FROM work WHERE kind = $1", &["delete work"]),
        ] {
            assert_eq!(changes(sql), named, "{sql}");
        }
    }
}
