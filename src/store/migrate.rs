//! The schema, in steps that are never edited once released (see `migrations/README.md`).

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The steps of both databases, which have the same names.
macro_rules! steps {
    ($database:literal) => {
        [
            (1, "accounts", step!($database, "0001_accounts.sql")),
            (2, "orders", step!($database, "0002_orders.sql")),
            (3, "certificates", step!($database, "0003_certificates.sql")),
            (4, "work", step!($database, "0004_work.sql")),
            (5, "external_accounts", step!($database, "0005_external_accounts.sql")),
            (6, "revocations", step!($database, "0006_revocations.sql")),
            (7, "orders", step!($database, "0007_orders.sql")),
            (8, "validation", step!($database, "0008_validation.sql")),
            (9, "limits", step!($database, "0009_limits.sql")),
            (13, "audit", step!($database, "0013_audit.sql")),
            (14, "attestations", step!($database, "0014_attestations.sql")),
            (15, "work_in_hand", step!($database, "0015_work_in_hand.sql")),
        ]
    };
}

macro_rules! step {
    ($database:literal, $file:literal) => {
        include_str!(concat!("../../migrations/", $database, "/", $file))
    };
}

pub(super) fn sqlite() -> Migrator {
    migrator(steps!("sqlite"))
}

pub(super) fn postgres() -> Migrator {
    migrator(steps!("postgres"))
}

/// The number of the newest step.
pub(super) fn newest() -> i64 {
    numbers().into_iter().max().unwrap_or(0)
}

pub(super) fn numbers() -> Vec<i64> {
    steps!("sqlite").map(|(number, ..)| number).to_vec()
}

fn migrator<const N: usize>(steps: [(i64, &'static str, &'static str); N]) -> Migrator {
    let migrations = steps.map(|(number, name, sql)| {
        let sql = SqlStr::from_static(sql);
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.to_vec());
    // During a rolling upgrade the older release meets a schema that is newer than itself.
    migrator.set_ignore_missing(true);
    migrator
}
