//! A token behind a socket, as network HSMs are: `p11-kit server` in front of SoftHSM2.

use std::time::Duration;

use harness::token::Token;

use super::Site;

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
