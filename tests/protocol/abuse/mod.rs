//! Wrong requests over the wire, as tables: each row with the clause that refuses it, the answer's
//! status and problem type, and what its detail says to mend the request. Each table has one server,
//! which is as well afterwards as it was before, and has kept nothing of it.

mod csr;
mod extensions;
mod headers;
mod http;
mod jws;
mod keys;
mod payloads;
mod resources;
mod signatures;

use std::fmt;

use harness::{Answer, Client, Server};
use serde_json::Value;
use sqlx::{Connection as _, Row as _};

/// What a row is about, and what it must be answered with.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// Of RFC 8555, unless it names another document.
    clause: &'static str,
    why: &'static str,
    status: u16,
    problem: &'static str,
    /// Stands in the problem's detail.
    says: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clause, why, status, problem, says } = self;
        write!(f, "{clause}, {why} (wants {status}, {problem}, {says:?})")
    }
}

/// A wrong request and its refusal.
type Row<T> = (Refusal, T);

fn row<T>(
    clause: &'static str,
    why: &'static str,
    wrong: T,
    (status, problem, says): (u16, &'static str, &'static str),
) -> Row<T> {
    (Refusal { clause, why, status, problem, says }, wrong)
}

const fn malformed(says: &'static str) -> (u16, &'static str, &'static str) {
    (400, "malformed", says)
}

impl Refusal {
    /// Panics unless the answer to a POST is this refusal, well-formed.
    #[track_caller]
    fn check(&self, answer: &Answer) {
        self.check_problem(answer);
        assert!(!answer.header("replay-nonce").is_empty(), "no nonce: {self}");
        assert_eq!(answer.header("cache-control"), "no-store", "{self}");
    }

    /// As [`Self::check`], of an answer that owes no nonce (RFC 8555 §6.5).
    #[track_caller]
    fn check_problem(&self, answer: &Answer) {
        let text = answer.text();
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (self.status, self.problem),
            "{self}: {text}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json", "{self}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{self}");
        let body: Value = serde_json::from_slice(&answer.body).expect(&text);
        assert_eq!(body["status"], answer.status, "{self}: {text}");
        let detail = body["detail"].as_str().expect(&text);
        assert!(detail.contains(self.says), "{self}: {text}");
    }
}

/// A server to be abused, and how many rows its database had before.
struct Victim {
    server: Server,
    database_url: String,
    rows: Vec<i64>,
}

impl Victim {
    async fn new(server: Server) -> Self {
        let database_url = format!("sqlite://{}/kipuka.db", server.folder.path().display());
        Self::on(database_url, server).await
    }

    async fn on(database_url: String, server: Server) -> Self {
        let rows = count_rows(&database_url).await;
        Self { server, database_url, rows }
    }

    /// Panics if any of it left a trace, or if a right request is no longer served.
    async fn is_unharmed(&self, client: &mut Client) {
        let kept = count_rows(&self.database_url).await;
        assert_eq!(
            kept, self.rows,
            "rows of accounts, orders, authorizations, certificates, revocations but for CRLs"
        );
        let account = client.kid.clone().unwrap();
        client.post_as_get(&account).await.expect(200);
        let (status, body) = self.server.admin_get("/readyz").unwrap();
        assert_eq!(status, 200, "{body}");
        let log = self.server.log();
        let errors: Vec<_> = log.lines().filter(|line| line.contains("\"ERROR\"")).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

async fn count_rows(url: &str) -> Vec<i64> {
    let count = "SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM orders), \
                 (SELECT COUNT(*) FROM authorizations), (SELECT COUNT(*) FROM certificates), \
                 (SELECT COUNT(*) FROM revocations)";
    if url.starts_with("sqlite:") {
        let mut database = sqlx::SqliteConnection::connect(url).await.unwrap();
        let row = sqlx::query(count).fetch_one(&mut database).await.unwrap();
        return (0..5).map(|column| row.get(column)).collect();
    }
    let mut database = sqlx::PgConnection::connect(url).await.unwrap();
    let row = sqlx::query(count).fetch_one(&mut database).await.unwrap();
    (0..5).map(|column| row.get(column)).collect()
}

#[test]
fn there_are_hundreds_of_wrong_requests_in_the_tables() {
    let rows = [
        headers::rows().len() + headers::texts().len(),
        jws::rows().len(),
        keys::rows().len(),
        signatures::rows().len(),
        payloads::rows().len(),
        resources::rows().len(),
        csr::rows().len(),
        extensions::rows().len(),
        http::rows().len(),
    ];
    assert!(rows.iter().sum::<usize>() >= 250, "{rows:?}");
}
