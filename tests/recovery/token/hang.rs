//! Every call on the way to a signature may hang, and one day come back.

use std::time::{Duration, Instant};

use super::{SOON, Site};

/// Longer than a signature may take here.
const HANG_MS: u64 = 5000;

impl Site {
    /// One hangs, and whatever waits for it: but no longer than until soon after its end.
    async fn one_is_issued_after_the_hang(&self, function: &str) {
        let now = Instant::now();
        let issued = || self.issued.lock().unwrap().iter().any(|(at, _)| *at > now);
        let end = Duration::from_millis(HANG_MS) + SOON;
        self.until(&format!("a certificate in spite of {function}"), end, issued).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_while_sessions_are_opened_anew_holds_up_signing_no_longer_than_it_lasts()
{
    let site = Site::start().await;
    let functions = [
        "C_OpenSession",
        "C_GetSessionInfo",
        "C_Login",
        "C_FindObjectsInit",
        "C_FindObjects",
        "C_FindObjectsFinal",
        "C_SignInit",
    ];
    for (number, function) in functions.into_iter().enumerate() {
        let drop = format!("drop-sessions {number}");
        site.suffer(&[&drop, &format!("hang {function} {HANG_MS} first 1")]);
        site.one_is_issued_after_the_hang(function).await;
        site.suffer(&[]);
        site.one_is_issued().await;
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_while_the_library_begins_anew_holds_up_signing_no_longer_than_it_lasts()
{
    let site = Site::start().await;
    let functions = [
        "C_Finalize",
        "C_Initialize",
        "C_GetSlotList",
        "C_GetTokenInfo",
        "C_GetMechanismList",
        "C_GetAttributeValue",
    ];
    for function in functions {
        let hang = format!("hang {function} {HANG_MS} first 1");
        site.suffer(&["sticky", "vanish kipuka", &hang]);
        site.is_down().await;
        site.suffer(&[&hang]);
        site.one_is_issued_after_the_hang(function).await;
        site.suffer(&[]);
        site.one_is_issued().await;
    }
    site.ends_well().await;
}
