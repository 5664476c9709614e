//! Many orders, written into the database by its own means: as kipuka would have left them, each with
//! its authorization, challenges and certificate.

use std::time::Instant;

use harness::{Database, Server};

/// Rows in one transaction.
const PART: u64 = 500_000;
/// The accounts that they are spread over.
const ACCOUNTS: u64 = 1000;

/// The tables in the order in which they refer to one another; `$N` is the number of an order.
const INSERTS: [&str; 5] = [
    "INSERT INTO orders (id, ca, account_id, created_at, expires_at, processing_since, csr, \
     certificate_id) SELECT 'old-order-' || n, 'ca', 'old-account-' || (n % ACCOUNTS), \
     1700000000000 + n, 1700600000000 + n, 1700000000500 + n, BLOB350, 'old-cert-' || n FROM NUMBERS",
    "INSERT INTO authorizations (id, ca, account_id, identifier, created_at, expires_at, \
     concluded_by) SELECT 'old-authz-' || n, 'ca', 'old-account-' || (n % ACCOUNTS), \
     'n' || n || '.old.test', 1700000000000 + n, 1700600000000 + n, 'old-chall-' || n || '-0' \
     FROM NUMBERS",
    "INSERT INTO challenges (id, authorization_id, type, token, begun_at, validated_at) \
     SELECT 'old-chall-' || n || '-' || k, 'old-authz-' || n, \
     CASE k WHEN 0 THEN 'http-01' WHEN 1 THEN 'dns-01' ELSE 'tls-alpn-01' END, \
     'token-of-some-forty-characters-length-' || n || '-' || k, 1700000000100 + n, \
     CASE k WHEN 0 THEN 1700000000200 + n END FROM NUMBERS, (SELECT 0 AS k UNION ALL SELECT 1 \
     UNION ALL SELECT 2) AS kinds",
    "INSERT INTO order_authorizations (order_id, position, authorization_id) \
     SELECT 'old-order-' || n, 0, 'old-authz-' || n FROM NUMBERS",
    "INSERT INTO certificates (id, ca, account_id, order_id, issuer_id, serial, tbs, planned_at, \
     certificate, issued_at) SELECT 'old-cert-' || n, 'ca', 'old-account-' || (n % ACCOUNTS), \
     'old-order-' || n, (SELECT MIN(id) FROM issuers), SERIAL, BLOB400, 1700000000500 + n, BLOB500, \
     1700000000600 + n FROM NUMBERS",
];

/// Adds so many orders while the server waits.
pub(crate) async fn add(server: &Server, database: &Database, orders: u64) {
    let begun = Instant::now();
    let is_sqlite = matches!(database, Database::Sqlite(_));
    let accounts = format!(
        "INSERT INTO accounts (id, ca, thumbprint, jwk, contact, created_at) SELECT \
         'old-account-' || n, 'ca', 'old-thumbprint-' || n, '{{}}', '[]', 1700000000000 FROM {}",
        numbers(is_sqlite, 0, ACCOUNTS)
    );
    run(database, &accounts);
    let mut from = 0;
    while from < orders {
        let to = (from + PART).min(orders);
        let numbers = numbers(is_sqlite, from, to);
        let mut part = String::from("BEGIN;\n");
        for insert in INSERTS {
            let (serial, blob) = if is_sqlite {
                ("lower(hex(randomblob(16)))", "randomblob(LENGTH)")
            } else {
                ("md5(random()::text)", "decode(repeat(md5(random()::text), LENGTH / 16), 'hex')")
            };
            let mut insert = insert.replace("NUMBERS", &numbers).replace("SERIAL", serial);
            for length in ["350", "400", "500"] {
                let value = blob.replace("LENGTH", length);
                insert = insert.replace(&format!("BLOB{length}"), &value);
            }
            part += &insert.replace("ACCOUNTS", &ACCOUNTS.to_string());
            part += ";\n";
        }
        part += "COMMIT;\n";
        run(database, &part);
        from = to;
    }
    // As the database's own housekeeping would, sooner or later.
    run(database, if is_sqlite { "ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)" } else { "ANALYZE" });
    if !is_sqlite {
        run(database, "CHECKPOINT");
    }
    assert!(server.admin_get("/readyz").is_some());
    println!("\n{orders} orders were written in {:.0} s", begun.elapsed().as_secs_f64());
}

/// A table of the numbers from `from` on, below `to`.
fn numbers(is_sqlite: bool, from: u64, to: u64) -> String {
    if is_sqlite {
        format!(
            "(WITH RECURSIVE c(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM c WHERE n < {}) \
             SELECT n FROM c) AS numbers",
            to - 1
        )
    } else {
        format!("generate_series({from}::bigint, {}) AS n", to - 1)
    }
}

fn run(database: &Database, sql: &str) {
    assert!(database.ask(sql).is_some(), "rows could not be written");
}
