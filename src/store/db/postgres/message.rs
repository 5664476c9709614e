//! Statements of many callers as one message to Postgres, which runs them in turn and all or none.
//!
//! A simple query (PostgreSQL's "Message Flow", §55.2.2.1) may have several statements, and is one
//! transaction. Its values are part of the text: so each is written in hexadecimal digits, and
//! no byte that came from outside is ever read as SQL. Statements are prepared once for each
//! connection, so that they are parsed and planned once.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Done, Ran, Row, Statement, Value};

/// Prepared statements that a connection keeps: all that there are, and some of the lists.
const PREPARED: u64 = 256;

/// Whoever waits longer for somebody else's lock steps aside ([`super::Aside`]), so that those behind
/// it go on. Less than Postgres' `deadlock_timeout`: a deadlock ends by this.
const LOCK_TIMEOUT: &str = "SET lock_timeout='100ms';";

/// What a required statement that changed nothing says: Postgres has no shorter way to end a
/// transaction in the middle of a message than an error.
const REFUSED: &str = "kipuka: nothing to change";

/// The statements that were prepared on a connection, each with its name.
#[derive(Default)]
pub(super) struct Prepared {
    names: HashMap<String, u64>,
    /// A name is given once: whether a message that failed prepared anything is not known.
    last: u64,
    /// The last name that is known to be forgotten. A message that failed leaves behind what it prepared:
    /// so what counts is the names that were given, not those that are remembered.
    forgotten: u64,
    /// Whether the connection has its lock timeout.
    is_set_up: bool,
}

/// A message, and what will come back.
pub(super) struct Message {
    pub(super) sql: String,
    /// Which answers are to be read, for each request.
    requests: Vec<Expected>,
    new: Vec<(String, u64)>,
    forgets: bool,
}

/// What comes back for one request.
struct Expected {
    /// The places of its statements among the answers.
    places: Vec<usize>,
    /// Where a single statement is required, by the rows that it changed.
    required: bool,
}

/// The answer to one statement.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) changed: u64,
    pub(super) rows: Vec<Row>,
}

impl Prepared {
    /// Writes the requests as one message; none has to be without a statement.
    pub(super) fn message<'a>(
        &self,
        requests: impl IntoIterator<Item = &'a [Statement]>,
    ) -> Message {
        let forgets = self.last - self.forgotten > PREPARED;
        let mut message =
            Message { sql: String::new(), requests: Vec::new(), new: Vec::new(), forgets };
        let mut count = 0;
        if !self.is_set_up {
            message.sql.push_str(LOCK_TIMEOUT);
            count += 1;
        }
        if forgets {
            message.sql.push_str("DEALLOCATE ALL;");
            count += 1;
        }
        for statements in requests {
            let alone = statements.len() == 1;
            let mut places = Vec::with_capacity(statements.len());
            for statement in statements {
                let checked = statement.required && !alone;
                let name = match self.name_of(&message, statement, checked) {
                    Some(name) => name,
                    None => {
                        count += 1;
                        message.prepare(statement, checked, self.last)
                    }
                };
                message.execute(name, &statement.values);
                places.push(count);
                count += 1;
            }
            let required = alone && statements.iter().all(|statement| statement.required);
            message.requests.push(Expected { places, required });
        }
        message
    }

    fn name_of(&self, message: &Message, statement: &Statement, checked: bool) -> Option<u64> {
        let key = key(statement, checked);
        let new = message.new.iter().find(|(sql, _)| *sql == key).map(|(_, name)| *name);
        new.or_else(|| (!message.forgets).then(|| self.names.get(&key).copied()).flatten())
    }

    /// Notes what a message prepared; where it failed, only that its names were used.
    pub(super) fn sent(&mut self, message: &Message, succeeded: bool) {
        let before = self.last;
        self.last += message.new.len() as u64;
        if message.forgets {
            // No rollback brings back what was forgotten.
            self.names.clear();
        }
        if succeeded {
            // A rollback takes the setting back.
            self.is_set_up = true;
            if message.forgets {
                self.forgotten = before;
            }
            self.names.extend(message.new.iter().cloned());
        }
    }
}

/// What a prepared statement is known by: the same text may be checked or not.
fn key(statement: &Statement, checked: bool) -> String {
    let sql = statement.sql.as_str();
    if checked {
        format!(
            "WITH changed AS ({sql} RETURNING 1) SELECT CAST(CASE COUNT(*) WHEN 0 \
             THEN '{REFUSED}' ELSE '1' END AS BIGINT) FROM changed"
        )
    } else {
        sql.to_owned()
    }
}

impl Message {
    fn prepare(&mut self, statement: &Statement, checked: bool, last: u64) -> u64 {
        let name = last + self.new.len() as u64 + 1;
        let _ = write!(self.sql, "PREPARE kipuka_{name}");
        for (index, value) in statement.values.iter().enumerate() {
            self.sql.push_str(if index == 0 { "(" } else { "," });
            self.sql.push_str(match value {
                Value::Int(_) => "BIGINT",
                Value::Text(_) => "TEXT",
                Value::Blob(_) => "BYTEA",
            });
        }
        let sql = key(statement, checked);
        let end = if statement.values.is_empty() { "" } else { ")" };
        let _ = write!(self.sql, "{end} AS {sql};");
        self.new.push((sql, name));
        name
    }

    fn execute(&mut self, name: u64, values: &[Value]) {
        let _ = write!(self.sql, "EXECUTE kipuka_{name}");
        for (index, value) in values.iter().enumerate() {
            self.sql.push(if index == 0 { '(' } else { ',' });
            match value {
                Value::Int(None) | Value::Text(None) | Value::Blob(None) => {
                    self.sql.push_str("NULL");
                }
                Value::Int(Some(number)) => drop(write!(self.sql, "{number}")),
                Value::Text(Some(text)) => {
                    self.sql.push_str("convert_from(");
                    self.hex(text.as_bytes());
                    self.sql.push_str(",'UTF8')");
                }
                Value::Blob(Some(bytes)) => self.hex(bytes),
            }
        }
        self.sql.push_str(if values.is_empty() { ";" } else { ");" });
    }

    fn hex(&mut self, bytes: &[u8]) {
        self.sql.push_str("decode('");
        self.sql.push_str(&data_encoding::HEXLOWER.encode(bytes));
        self.sql.push_str("','hex')");
    }

    /// What each request gets of the answers.
    pub(super) fn results(&self, mut answers: Vec<Answer>) -> Vec<Ran> {
        self.requests
            .iter()
            .map(|request| match request.places.as_slice() {
                [only] => {
                    let answer = answers.get_mut(*only).map(std::mem::take).unwrap_or_default();
                    Ok(match request.required {
                        true => (Done::of_required(answer.changed), Vec::new()),
                        false => (Done::Committed, answer.rows),
                    })
                }
                _ => Ok((Done::Committed, Vec::new())),
            })
            .collect()
    }
}

/// Whether a message was undone because somebody else holds a lock: `lock_not_available`,
/// `deadlock_detected`.
pub(super) fn is_blocked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "55P03" | "40P01"))
}

/// Whether a message was undone because a required statement changed nothing.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        // invalid_text_representation: of the words as a number.
        error.code().is_some_and(|code| code == "22P02") && error.message().contains(REFUSED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::values;

    #[test]
    fn values_are_digits_whatever_they_hold() {
        let evil = "'; DROP TABLE accounts; --\\";
        let statement = Statement::new("SELECT $1, $2, $3", values![evil, evil.as_bytes(), -1_i64]);
        let message = Prepared::default().message([&[statement][..]]);
        let sql = message.sql.strip_prefix(LOCK_TIMEOUT).unwrap();
        let (prepare, execute) = sql.split_once(';').unwrap();
        assert_eq!(prepare, "PREPARE kipuka_1(TEXT,BYTEA,BIGINT) AS SELECT $1, $2, $3");
        let hex = data_encoding::HEXLOWER.encode(evil.as_bytes());
        let text = format!("convert_from(decode('{hex}','hex'),'UTF8')");
        assert_eq!(execute, format!("EXECUTE kipuka_1({text},decode('{hex}','hex'),-1);"));
    }

    #[test]
    fn a_statement_is_prepared_once_and_no_name_is_given_twice() {
        let statement = || [Statement::new("SELECT $1", values![1_i64])];
        let mut prepared = Prepared::default();
        let first = prepared.message([&statement()[..], &statement()[..]]);
        assert_eq!(first.sql.matches("PREPARE").count(), 1);
        assert_eq!(first.sql.matches("EXECUTE kipuka_1(").count(), 2);
        prepared.sent(&first, false);
        let second = prepared.message([&statement()[..]]);
        let begin = format!("{LOCK_TIMEOUT}PREPARE kipuka_2(");
        assert!(second.sql.starts_with(&begin), "{}", second.sql);
        prepared.sent(&second, true);
        let third = prepared.message([&statement()[..]]);
        assert_eq!(third.sql, "EXECUTE kipuka_2(1);");
    }

    #[test]
    fn names_that_failed_messages_gave_are_forgotten_too() {
        let statement = [Statement::new("SELECT $1", values![1_i64])];
        let mut prepared = Prepared::default();
        for _ in 0..=PREPARED {
            let message = prepared.message([&statement[..]]);
            assert!(!message.sql.contains("DEALLOCATE"), "{}", message.sql);
            prepared.sent(&message, false);
        }
        for succeeds in [false, true] {
            let message = prepared.message([&statement[..]]);
            assert!(message.sql.contains("DEALLOCATE ALL;PREPARE"), "{}", message.sql);
            prepared.sent(&message, succeeds);
        }
        assert!(prepared.message([&statement[..]]).sql.starts_with("EXECUTE"));
    }
}
