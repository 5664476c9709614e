//! What a certificate leaves in the database: rows and bytes, by table, its indexes among them.

use harness::Database;

/// Prints them, after the database's own housekeeping.
pub(crate) fn print(database: &Database) {
    let is_sqlite = matches!(database, Database::Sqlite(_));
    let ask = |sql: &str| database.ask(sql).expect("the database answers");
    ask(if is_sqlite { "PRAGMA wal_checkpoint(TRUNCATE); VACUUM" } else { "VACUUM FULL" });
    let certificates = number(&ask("SELECT COUNT(*) FROM certificates WHERE order_id IS NOT NULL"));
    let tables = ask(if is_sqlite {
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    } else {
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
         ORDER BY relname"
    });
    println!("\n{:<24} {:>10} {:>12} {:>14}", "table", "rows each", "bytes each", "of which index");
    let mut total = 0.0;
    for table in tables.lines() {
        let rows = number(&ask(&format!("SELECT COUNT(*) FROM {table}")));
        let (all, alone) = if is_sqlite {
            let sum = "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE name";
            let of = format!("SELECT name FROM sqlite_master WHERE tbl_name = '{table}'");
            (format!("{sum} IN ({of})"), format!("{sum} = '{table}'"))
        } else {
            let of = format!("'{table}'::regclass");
            (
                format!("SELECT pg_total_relation_size({of})"),
                format!("SELECT pg_total_relation_size({of}) - pg_indexes_size({of})"),
            )
        };
        let (all, alone) = (number(&ask(&all)), number(&ask(&alone)));
        total += all / certificates;
        println!(
            "{table:<24} {:>10.2} {:>12.0} {:>14.0}",
            rows / certificates,
            all / certificates,
            (all - alone) / certificates
        );
    }
    println!("{:<24} {:>10} {total:>12.0}   ({certificates} certificates)", "together", "");
}

fn number(text: &str) -> f64 {
    text.trim().parse().expect("a number")
}
