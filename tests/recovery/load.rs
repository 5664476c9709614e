//! Clients that order, prove, finalize, download and revoke all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use harness::Patient;

/// Orders under way at once, at most.
const AT_ONCE: usize = 24;

/// Begins stories until it is stopped; each account has several orders under way.
pub(crate) async fn load(accounts: Vec<Patient>, stop: Arc<AtomicBool>) -> Vec<Patient> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut under_way = tokio::task::JoinSet::new();
    while !stop.load(Ordering::SeqCst) {
        for account in &accounts {
            if under_way.len() < AT_ONCE {
                let mut patient = account.fork();
                under_way.spawn(async move {
                    let number = COUNT.fetch_add(1, Ordering::SeqCst);
                    let certificate = patient.issue(&format!("r{number}.test")).await;
                    if number.is_multiple_of(3) {
                        patient.revoke(&certificate).await;
                    }
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        while let Some(ended) = under_way.try_join_next() {
            ended.unwrap();
        }
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    accounts
}

/// Sends again what was sent, and looks at the CRL, all the time.
pub(crate) async fn watch(
    mut patient: Patient,
    issuer: openssl::x509::X509,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::SeqCst) {
        patient.look_at_crl(&issuer).await;
        patient.replay().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
