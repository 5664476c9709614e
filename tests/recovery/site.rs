//! A server that is killed or whose surroundings fail, its clients, and the proof in the end.

use std::time::{Duration, Instant};

use harness::proof::{Found, Witness};
use harness::token::Token;
use harness::{Algorithm, Ca, Client, Database, Diary, Disk, Key, Patient, Server, Settings, Tap};
use openssl::x509::X509;
use tokio::task::JoinSet;

use crate::BINARY;

/// How long it may take until something happens that surely does.
pub(crate) const SURELY: Duration = Duration::from_secs(40);

/// A server that is killed and started again, and its clients.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) database: Database,
    pub(crate) diary: Diary,
    pub(crate) witness: Witness,
    pub(crate) roots: Vec<X509>,
    /// Any client, once there is one.
    first: Option<Client>,
    pub(crate) stories: JoinSet<Patient>,
    pub(crate) kills: u32,
    /// Whether the time passes at once, after a kill, that leases take to lapse on Postgres.
    pub(crate) leases_lapse: bool,
}

impl Site {
    pub(crate) async fn new(database: Database, database_url: String) -> Self {
        let server = Server::prepare(BINARY, settings(database_url)).await;
        server.token.as_ref().unwrap().suffer(&["record"]);
        Self {
            roots: server.roots(),
            server,
            database,
            diary: Diary::default(),
            witness: Witness::new(),
            first: None,
            stories: JoinSet::new(),
            kills: 0,
            leases_lapse: false,
        }
    }

    /// On Postgres, reached through a tap.
    pub(crate) async fn tapped() -> (Self, Tap) {
        let database = Database::postgres();
        let Database::Postgres(postgres) = &database else { unreachable!() };
        let tap = Tap::start(postgres.address());
        let url = postgres.url_by(tap.relay.address);
        (Self::new(database, url).await, tap)
    }

    /// On SQLite, over a disk at which it can be killed.
    pub(crate) async fn on_disk() -> (Self, Disk) {
        let database = Database::sqlite();
        let url = database.url();
        let disk = Disk::new();
        let mut site = Self::new(database, url).await;
        site.server.environment = disk.environment();
        (site, disk)
    }

    pub(crate) fn token(&self) -> &Token {
        self.server.token.as_ref().unwrap()
    }

    pub(crate) fn issuer(&self) -> &X509 {
        &self.roots[0]
    }

    /// A new client orders, proves, finalizes, downloads and revokes; by itself.
    pub(crate) async fn tell(&mut self, name: String) {
        let client = self.client().await;
        let (roots, diary) = (self.roots.clone(), self.diary.clone());
        self.stories.spawn(async move {
            let mut patient = Patient::new(client, roots, &diary).await;
            let certificate = patient.issue(&name).await;
            patient.revoke(&certificate).await;
            patient
        });
    }

    /// A client with a key of its own, also while the server is away.
    pub(crate) async fn client(&mut self) -> Client {
        if self.first.is_none() {
            self.first = Some(self.server.client("ca").await);
        }
        self.first.as_ref().unwrap().another(Key::new(Algorithm::Es256))
    }

    /// Starts it again after it was killed, or kills it.
    pub(crate) fn restart(&mut self) {
        assert!(!self.server.log().contains("panicked"), "{}", self.server.log());
        if matches!(self.database, Database::Sqlite(_) | Database::Within { .. }) {
            self.diary.entries().restarts += 1;
        }
        self.server.kill();
        self.kills += 1;
        if self.leases_lapse {
            self.database.query("UPDATE work SET due_at = 0 WHERE lease IS NOT NULL");
            self.database.query("UPDATE work_in_hand SET due_at = 0");
        }
        self.server.spawn();
        self.witness.look(&self.database);
    }

    /// Waits until it was killed by what surrounds it.
    pub(crate) async fn is_killed(&mut self, within: Duration) -> bool {
        let begun = Instant::now();
        while !self.server.has_ended() {
            if begun.elapsed() > within {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Every client comes to its end, and everything is as it must be.
    pub(crate) async fn prove(mut self) -> Found {
        while let Some(patient) = self.stories.join_next().await {
            let mut patient = patient.unwrap();
            patient.finish_all().await;
            patient.replay().await;
            patient.finish_all().await;
        }
        let found = self
            .witness
            .prove(&self.database, self.server.token.as_ref().unwrap(), &self.diary)
            .await;
        self.all_revocations_are_told().await;
        // Run elsewhere it would not see a database in a namespace.
        if self.server.within.is_empty() {
            let verified = self.server.run(&["audit", "verify"]);
            assert!(verified.status.success(), "{}", harness::command::text(&verified));
        }
        assert!(!self.server.log().contains("panicked"), "{}", self.server.log());
        let entries = self.diary.entries();
        println!(
            "{} kills: {found:?}; {} requests without an answer, {} answers of 503, {} nonces \
             tried again",
            self.kills, entries.broken, entries.unavailable, entries.replayed
        );
        drop(entries);
        found
    }

    pub(crate) async fn all_revocations_are_told(&self) {
        let client = self.server.client("ca").await;
        let patient = Patient::new(client, self.roots.clone(), &self.diary).await;
        let begun = Instant::now();
        loop {
            patient.look_at_crl(self.issuer()).await;
            if self.diary.entries().all_revocations_are_told() {
                return;
            }
            assert!(begun.elapsed() < SURELY, "a revocation is in no CRL");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn settings(database_url: String) -> Settings {
    Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        token: Some(Token::faulty().certified_long_ago()),
        database_url: Some(database_url),
        // So that leases are short, which a process leaves behind on Postgres.
        validation: "timeout_s = 2".to_owned(),
        ..Settings::default()
    }
}
