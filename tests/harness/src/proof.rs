//! What must hold of a CA whatever was killed and when, proved from its database and from what its
//! token was asked to sign (`record`, see tests/faulty-token).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use openssl::sha::sha256;
use openssl::x509::X509;

use crate::database::Database;
use crate::patient::{Diary, serial};
use crate::token::Token;

/// How long work may be left on the list: a lease must lapse on Postgres, where a process was killed.
const WORK: Duration = Duration::from_secs(90);
/// Messages without meaning that kipuka has signed to see whether a key signs.
const PROBES: [&[u8]; 1] = [b"kipuka tests whether this key signs"];

/// Collects what the database is about to forget.
#[derive(Default)]
pub struct Witness {
    /// What may be signed, and was in the database, in hex: as it is, and its SHA-256.
    known: BTreeMap<String, &'static str>,
    /// For each CRL number what it was planned to say.
    crls: BTreeMap<(String, u64), String>,
}

/// What a proof found.
#[derive(Debug)]
pub struct Found {
    pub orders: usize,
    pub certificates: usize,
    pub crls: usize,
    pub revocations: usize,
    pub signatures: usize,
}

impl Witness {
    pub fn new() -> Self {
        let mut witness = Self::default();
        for probe in PROBES {
            witness.know(probe, "probe");
        }
        witness
    }

    fn know(&mut self, message: &[u8], what: &'static str) {
        self.known.insert(hex(message), what);
        self.known.insert(hex(&sha256(message)), what);
    }

    /// Old CRLs are forgotten after a while. Kipuka should be running, see [`Database::query`].
    pub fn look(&mut self, database: &Database) {
        let (tbs, crl) = (database.hex("tbs"), database.hex("crl"));
        let select = format!("SELECT issuer, number, {tbs}, {crl} FROM crls");
        for row in database.query(&select) {
            let tbs = match (&*row[2], &*row[3]) {
                ("", "") => continue,
                ("", crl) => hex(to_be_signed(&bytes(crl))),
                (tbs, _) => tbs.to_owned(),
            };
            self.know(&bytes(&tbs), "CRL");
            let key = (row[0].clone(), row[1].parse().unwrap());
            let before = self.crls.insert(key, tbs.clone());
            assert!(before.is_none_or(|before| before == tbs), "CRL {} was another", row[1]);
        }
    }

    /// Waits until no work is left, and looks at everything.
    pub async fn prove(&mut self, database: &Database, token: &Token, diary: &Diary) -> Found {
        nothing_is_left_to_do(database).await;
        // Before the database is read: the server may sign something more meanwhile, such as a checkpoint.
        let signatures = token.signatures();
        self.look(database);
        let statement = database.hex_of_text("statement");
        for row in database.query(&format!("SELECT {statement} FROM audit_checkpoints")) {
            self.know(&bytes(&row[0]), "checkpoint");
        }
        let (tbs, certificate) = (database.hex("tbs"), database.hex("certificate"));
        let select =
            format!("SELECT order_id, serial, {tbs}, {certificate}, issued_at FROM certificates");
        let mut of_orders = BTreeSet::new();
        let mut issued = BTreeMap::new();
        for row in database.query(&select) {
            let [order, serial_text, tbs, certificate, issued_at] = &row[..] else {
                panic!("{row:?}")
            };
            let tbs = bytes(tbs);
            self.know(&tbs, "certificate");
            assert!(order.is_empty() || of_orders.insert(order.clone()), "{order} has two");
            assert_eq!(
                certificate.is_empty(),
                issued_at.is_empty(),
                "{serial_text} is half-written"
            );
            if certificate.is_empty() {
                // Only kipuka's own may be missing, where it was killed as it started.
                assert!(order.is_empty(), "the certificate of {order} is missing");
                continue;
            }
            let der = bytes(certificate);
            assert_eq!(to_be_signed(&der), tbs, "{serial_text} is not as it was planned");
            let parsed = X509::from_der(&der).unwrap();
            assert_eq!(
                serial(&parsed).trim_start_matches('0'),
                serial_text.trim_start_matches('0')
            );
            assert!(
                issued.insert(serial_text.clone(), (der, tbs)).is_none(),
                "{serial_text} twice"
            );
        }
        let orders = orders_are_finished(database, &of_orders);
        for signature in &signatures {
            assert!(
                self.known.contains_key(&signature.data),
                "the token signed what is not in the database: {}",
                signature.data
            );
        }
        let made: BTreeSet<_> =
            signatures.iter().filter(|one| one.is_made).map(|one| one.data.as_str()).collect();
        for (serial, (_, tbs)) in &issued {
            let signed = made.contains(&*hex(tbs)) || made.contains(&*hex(&sha256(tbs)));
            assert!(signed, "the token did not sign {serial}");
        }
        let ders: BTreeSet<_> = issued.values().map(|(der, _)| der).collect();
        let entries = diary.entries();
        for (url, certificate) in &entries.orders {
            let certificate = certificate.as_ref().unwrap_or_else(|| panic!("{url} is not valid"));
            assert!(ders.contains(certificate), "the certificate of {url} is not in the database");
        }
        let revoked: BTreeSet<_> =
            database.query("SELECT serial FROM revocations").into_iter().flatten().collect();
        for serial in &entries.revoked {
            let is = revoked
                .iter()
                .any(|one| one.trim_start_matches('0') == serial.trim_start_matches('0'));
            assert!(is, "the revocation of {serial} is not in the database");
        }
        assert!(token.violations_of_all().is_empty(), "{:?}", token.violations_of_all());
        Found {
            orders,
            certificates: issued.len(),
            crls: self.crls.len(),
            revocations: revoked.len(),
            signatures: made.len(),
        }
    }
}

async fn nothing_is_left_to_do(database: &Database) {
    let begun = Instant::now();
    loop {
        let mut left = database.query("SELECT kind, subject, attempts, due_at, lease FROM work");
        left.extend(database.query("SELECT kind, subject, due_at, lease FROM work_in_hand"));
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < WORK, "left to do: {left:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Each order has its certificate or its error, and not both; returns how many there are.
fn orders_are_finished(database: &Database, planned: &BTreeSet<String>) -> usize {
    let select = "SELECT id, processing_since, certificate_id, error FROM orders";
    let orders = database.query(select);
    for row in &orders {
        let [id, since, certificate, error] = &row[..] else { panic!("{row:?}") };
        assert_ne!(certificate.is_empty(), error.is_empty(), "order {id} is not finished: {row:?}");
        assert!(!since.is_empty() && planned.contains(id), "order {id} skipped a step: {row:?}");
    }
    orders.len()
}

/// What is signed of a certificate or a CRL: the first part of it.
fn to_be_signed(der: &[u8]) -> &[u8] {
    let content = &der[header(der)..];
    let head = header(content);
    let length = content[1..head].iter().skip(usize::from(content[1] & 0x80 != 0));
    let length = length.fold(0, |length, byte| length << 8 | usize::from(*byte));
    &content[..head + length]
}

/// How long the tag and length of this DER are.
fn header(der: &[u8]) -> usize {
    if der[1] & 0x80 == 0 { 2 } else { 2 + usize::from(der[1] & 0x7f) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
