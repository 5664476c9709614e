//! A relay before Postgres that understands what passes: it names the transactions that commit, and
//! stops at one of them, so that a test can kill whoever sent it before the commit is done, or when it
//! is done and nobody was told.

use std::collections::{BTreeSet, HashMap, VecDeque};
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
    armed: Option<Armed>,
    struck: watch::Sender<u64>,
}

struct Armed {
    transaction: String,
    moment: Moment,
    /// Of which transactions a message with several may be made.
    kinds: BTreeSet<String>,
}

impl Armed {
    fn is_for(&self, name: &str, moment: Moment) -> bool {
        self.moment == moment
            && (self.transaction == name
                || (!self.kinds.contains(name)
                    && parts(name, &self.kinds)
                        .is_some_and(|parts| parts.contains(&&*self.transaction))))
    }
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

    /// As [`Self::commits`], each once, and without those that are several which others sent alone:
    /// what waits in the same moment goes as one message, and is one commit.
    pub fn kinds(&self) -> BTreeSet<String> {
        let mut kinds: BTreeSet<_> = self.commits().into_iter().collect();
        for name in kinds.clone() {
            kinds.remove(&name);
            if parts(&name, &kinds).is_none() {
                kinds.insert(name);
            }
        }
        kinds
    }

    /// Of which [`Self::kinds`] these commits are.
    pub fn kinds_of(&self, commits: &[String]) -> BTreeSet<String> {
        let kinds = self.kinds();
        let alone_or_not = |name: &String| match kinds.contains(name) {
            true => vec![name.clone()],
            false => {
                let parts = parts(name, &kinds).unwrap_or_default();
                parts.into_iter().map(str::to_owned).collect()
            }
        };
        commits.iter().flat_map(alone_or_not).collect()
    }

    /// The next transaction of this name does not get past this moment, whether it goes alone or with
    /// others. Once.
    pub fn arm(&mut self, transaction: &str, moment: Moment) {
        self.before = *self.struck.borrow_and_update();
        let (transaction, kinds) = (transaction.to_owned(), self.kinds());
        self.shared.lock().unwrap().armed = Some(Armed { transaction, moment, kinds });
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
    /// Prepared statements by their names, whether they were prepared by a message or in SQL.
    statements: HashMap<String, String>,
    bound: String,
    /// What the transaction that is under way has changed.
    changes: Vec<String>,
    in_transaction: bool,
    ends: bool,
    /// Statements of what is being sent that change a row or fail, and answer as a SELECT does.
    required: u64,
    /// For each ReadyForQuery that is still to come, the transaction that it says is committed, and
    /// how many rows it has changed at least, if it is.
    awaited: VecDeque<(Option<String>, u64)>,
    /// Rows that were changed since the last commit.
    changed: u64,
    /// An error came since the last ReadyForQuery.
    failed: bool,
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
            required: 0,
            awaited: VecDeque::new(),
            changed: 0,
            failed: false,
        }
    }

    /// The statements of one message. No semicolon stands within one: values are digits.
    fn execute_all(&mut self, sql: &str) {
        for statement in sql.split(';').map(str::trim) {
            let (verb, rest) = statement.split_once(' ').unwrap_or((statement, ""));
            let name = rest.split(['(', ' ']).next().unwrap_or_default().to_owned();
            match verb {
                "PREPARE" => {
                    let (_, prepared) = rest.split_once(" AS ").expect("PREPARE has an AS");
                    self.statements.insert(name, prepared.to_owned());
                }
                "EXECUTE" => {
                    let prepared = self.statements.get(&name).expect("it was prepared").clone();
                    self.execute(&prepared);
                }
                _ => self.execute(statement),
            }
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
            self.required += u64::from(upper.starts_with("WITH CHANGED AS ("));
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
        self.awaited.push_back((name, std::mem::take(&mut self.required)));
        passes
    }

    /// All that was sent until one point is answered; returns whether the answer may pass.
    fn is_answered(&mut self) -> bool {
        let (name, required) = self.awaited.pop_front().unwrap_or_default();
        if std::mem::take(&mut self.failed) {
            // Nothing of it was kept, whatever was said of single statements before.
            self.changed = 0;
            return true;
        }
        self.changed += required;
        match name {
            Some(name) if std::mem::take(&mut self.changed) > 0 => {
                self.shared.lock().unwrap().commits.push(name.clone());
                self.may_pass(&name, Moment::After)
            }
            _ => true,
        }
    }

    fn may_pass(&self, name: &str, moment: Moment) -> bool {
        let mut shared = self.shared.lock().unwrap();
        if !shared.armed.as_ref().is_some_and(|armed| armed.is_for(name, moment)) {
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
                self.execute_all(&sql);
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
            match kind {
                b'C' => self.changed += rows(&body),
                b'E' => self.failed = true,
                b'Z' => passes &= self.is_answered(),
                _ => {}
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

/// The transactions, all of these kinds, that a message did one after the other.
fn parts<'a>(name: &'a str, kinds: &'a BTreeSet<String>) -> Option<Vec<&'a str>> {
    kinds.iter().find_map(|kind| {
        let rest = name.strip_prefix(&**kind)?;
        let mut found =
            if rest.is_empty() { Vec::new() } else { parts(rest.strip_prefix(", ")?, kinds)? };
        found.push(kind);
        Some(found)
    })
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
            (
                "WITH changed AS (INSERT INTO crls (a) VALUES ($1) RETURNING 1) SELECT 1",
                &["insert crls"],
            ),
        ] {
            assert_eq!(changes(sql), named, "{sql}");
        }
    }

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn conversation() -> (Conversation, Arc<Mutex<Shared>>) {
        let shared = Shared { commits: Vec::new(), armed: None, struck: watch::channel(0).0 };
        let shared = Arc::new(Mutex::new(shared));
        let mut conversation = Conversation::new(Arc::clone(&shared));
        conversation.has_begun = true;
        (conversation, shared)
    }

    fn ask(conversation: &mut Conversation, sql: &str) -> bool {
        conversation.to_server(&framed(b'Q', &[sql.as_bytes(), b"\0"].concat()))
    }

    fn answer(conversation: &mut Conversation, parts: &[(u8, &str)]) -> bool {
        let messages = parts.iter().map(|(kind, body)| framed(*kind, body.as_bytes()));
        conversation.to_client(&messages.collect::<Vec<_>>().concat())
    }

    #[test]
    fn a_message_of_several_statements_is_one_commit_unless_one_of_them_fails() {
        let (mut conversation, shared) = conversation();
        let first = "PREPARE k_1(TEXT) AS WITH changed AS (UPDATE orders SET a = $1 RETURNING 1) \
                     SELECT 1;EXECUTE k_1('');PREPARE k_2 AS INSERT INTO work VALUES (1);EXECUTE k_2;";
        let begun = [(b'C', "PREPARE\0"), (b'C', "SELECT 1\0"), (b'C', "PREPARE\0")];
        ask(&mut conversation, first);
        answer(&mut conversation, &[&begun[..], &[(b'E', ""), (b'Z', "I")]].concat());
        assert!(shared.lock().unwrap().commits.is_empty());
        ask(&mut conversation, first);
        answer(&mut conversation, &[&begun[..], &[(b'C', "INSERT 0 0\0"), (b'Z', "I")]].concat());
        // Prepared before.
        ask(&mut conversation, "EXECUTE k_2;");
        answer(&mut conversation, &[(b'C', "INSERT 0 1\0"), (b'Z', "I")]);
        // Nothing was changed.
        ask(&mut conversation, "EXECUTE k_2;");
        answer(&mut conversation, &[(b'C', "INSERT 0 0\0"), (b'Z', "I")]);
        let commits = &shared.lock().unwrap().commits;
        assert_eq!(*commits, ["update orders, insert work", "insert work"]);
    }

    #[test]
    fn a_transaction_is_struck_among_others_but_not_in_one_that_does_more() {
        let kinds = ["insert work", "insert orders, insert work", "update orders"];
        let armed = Armed {
            transaction: "insert work".to_owned(),
            moment: Moment::After,
            kinds: kinds.map(str::to_owned).into(),
        };
        let is_for = |name| armed.is_for(name, Moment::After);
        assert!(is_for("insert work") && is_for("update orders, insert work"));
        assert!(!is_for("insert orders, insert work") && !is_for("update orders"));
        assert!(!armed.is_for("insert work", Moment::Before));
    }
}
