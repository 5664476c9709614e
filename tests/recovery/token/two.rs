//! A key in two tokens.

use std::fs;
use std::time::{Duration, Instant};

use harness::token::Token;
use harness::{Server, Settings};

use super::{SOON, Site};
use crate::BINARY;

/// A CA whose key is in two tokens of one library, `east` and `west`; not started yet.
async fn in_two_tokens(sharing: &str) -> Server {
    // Whose keys are files that can be copied.
    let token = Some(Token::softhsm().failing_on_command());
    let settings = Settings { token, ..Settings::key_file() };
    let server = Server::prepare(BINARY, settings).await;
    let token = server.token.as_ref().unwrap();
    let config = fs::read_to_string(server.config()).unwrap();
    let key = config.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
    token.shell(&format!(
        "softhsm2-util --init-token --free --label west --so-pin 12345678 --pin $PIN\n\
         for label in kipuka west; do softhsm2-util --import {key} --token $label --label ca \
         --id 01 --pin $PIN; done"
    ));
    let section = token.section();
    let named = |name: &str, label: &str| {
        let section = section.replace("[hsm]\n", &format!("[[hsm]]\nname = \"{name}\"\n"));
        section.replace("token_label = \"kipuka\"", &format!("token_label = \"{label}\""))
    };
    let both = named("east", "kipuka") + &named("west", "west");
    let place = format!("hsm_slot = 1\nhsm = [\"east\", \"west\"]\nhsm_sharing = \"{sharing}\"");
    let config = config.replace(&section, &both).replace(&format!("key = {key}"), &place);
    fs::write(server.config(), config).unwrap();
    server
}

impl Site {
    fn signed_by(&self, token: &str) -> u64 {
        let series = format!("kipuka_hsm_signatures_total{{token=\"{token}\",result=\"ok\"}} ");
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.parse().unwrap())
    }

    async fn signs(&self, token: &str) {
        let before = self.signed_by(token);
        self.until(token, SOON, || self.signed_by(token) > before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_of_two_tokens_dies_the_other_signs_and_no_client_notices() {
    let mut server = in_two_tokens("in-order").await;
    server.spawn();
    let site = Site::with(server).await;
    site.signs("east").await;
    site.suffer(&["vanish kipuka"]);
    site.signs("west").await;
    for _ in 0..5 {
        site.one_is_issued().await;
        assert!(site.ready().0, "{}", site.ready().1);
    }
    let (_, places) = site.ready();
    assert!(places.contains("CKR_") || places.contains("no token"), "{places}");
    // And back, by itself.
    site.suffer(&[]);
    site.signs("east").await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_dead_at_the_start_joins_in_when_it_is_there() {
    let mut server = in_two_tokens("in-order").await;
    server.token.as_ref().unwrap().suffer(&["vanish kipuka"]);
    server.spawn();
    let site = Site::with(server).await;
    site.signs("west").await;
    assert_eq!(site.signed_by("east"), 0);
    site.suffer(&[]);
    site.until("east", Duration::from_secs(40), || site.signed_by("east") > 0).await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tokens_share_the_load() {
    let mut server = in_two_tokens("by-load").await;
    server.token.as_ref().unwrap().suffer(&["latency C_Sign 50"]);
    server.spawn();
    let site = Site::with(server).await;
    site.signs("west").await;
    site.signs("east").await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_tokens_are_away_the_first_that_is_back_signs() {
    let mut server = in_two_tokens("in-order").await;
    server.spawn();
    let site = Site::with(server).await;
    for (away, back) in [("vanish kipuka", "west"), ("vanish west", "east")] {
        site.suffer(&["vanish *"]);
        site.is_down().await;
        site.suffer(&[away]);
        site.one_is_issued().await;
        site.signs(back).await;
        site.suffer(&[]);
    }
    site.ends_well().await;
}

/// Libraries of network HSMs may wait for the network as they are loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_hangs_as_it_is_initialised_holds_up_no_other_library() {
    let mut server = in_two_tokens("in-order").await;
    let token = server.token.as_ref().unwrap();
    let config = fs::read_to_string(server.config()).unwrap();
    // West's token is reached without the module that fails.
    let (east, west) = config.split_at(config.find("name = \"west\"").unwrap());
    let library = token.library().to_str().unwrap();
    let west = west.replacen(library, harness::token::LIBRARY, 1);
    fs::write(server.config(), format!("{east}{west}")).unwrap();
    token.suffer(&["hang C_Initialize 600000"]);
    server.spawn();
    let mut site = Site::with(server).await;
    site.signs("west").await;
    assert_eq!(site.signed_by("east"), 0);
    let (_, places) = site.ready();
    assert!(places.contains("did not answer"), "{places}");
    site.rest().await;
    let begun = Instant::now();
    let (ended_well, log) = site.server.terminate();
    assert!(ended_well && begun.elapsed() < Duration::from_secs(60), "{log}");
}
