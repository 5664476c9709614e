//! A token behind a socket, as network HSMs are: `p11-kit server` in front of SoftHSM2.

use std::time::Duration;

use harness::token::Token;

use super::{Site, a_call_hangs, every_tenth_call_fails, sessions_are_dropped};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_server_is_killed_signs_again_when_the_server_is_back() {
    let mut site = Site::of(Token::p11_kit().failing_on_command()).await;
    for away_ms in [100, 2500] {
        site.token_mut().kill();
        site.is_down().await;
        tokio::time::sleep(Duration::from_millis(away_ms)).await;
        site.token_mut().restart();
        site.one_is_issued().await;
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_server_was_another_at_once_signs_on() {
    let mut site = Site::of(Token::p11_kit().failing_on_command()).await;
    for _ in 0..3 {
        site.token_mut().kill();
        site.token_mut().restart();
        site.one_is_issued().await;
    }
    site.ends_well().await;
}

/// The module that fails stands before p11-kit's: what fails is the way to the token.
async fn remote() -> Site {
    Site::of(Token::p11_kit().failing_on_command()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_socket_all_sessions_dropped_at_once_are_opened_again() {
    sessions_are_dropped(remote().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_socket_a_call_that_hangs_for_a_minute_holds_up_nobody_else() {
    a_call_hangs(remote().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_socket_a_device_error_on_every_tenth_call_stops_nothing() {
    every_tenth_call_fails(remote().await).await;
}
