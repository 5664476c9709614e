//! docs/operate/backup.md: what its commands copy while kipuka serves is a whole database.

use harness::{Database, Server, Settings};

use crate::BINARY;
use crate::operate::tested_commands;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_kipuka_serves_is_served_from_as_the_database_was() {
    let database = Database::sqlite();
    let settings = |url| Settings { database_url: Some(url), ..Settings::key_file() };
    let server = Server::start(BINARY, settings(database.url())).await;
    let mut client = server.account("ca").await;
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("kipuka.db").display().to_string();
    let original = database.url().trim_start_matches("sqlite://").to_owned();
    let commands = tested_commands("backup.md");
    assert!(commands.contains("VACUUM INTO"), "{commands}");
    let commands = commands
        .replace("/var/lib/kipuka/kipuka.db", &original)
        .replace("/var/backups/kipuka.db", &copy);
    let said = harness::command::shell(&commands, &[]);
    assert_eq!(said.trim(), "ok");

    let mut restored = Server::prepare(BINARY, settings(format!("sqlite://{copy}"))).await;
    restored.take_cas_of(&server);
    restored.spawn();
    let serial = chain[0].serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase();
    let listed = restored.run(&["cert", "list", "--json"]);
    assert!(String::from_utf8(listed.stdout).unwrap().contains(&serial));
    // The account is there, and issuance goes on.
    let key = client.key.clone();
    let mut again = restored.client_with("ca", key).await;
    let found = again.new_account(&serde_json::json!({ "onlyReturnExisting": true })).await;
    again.kid = Some(found.expect(200).header("location").to_owned());
    again.order(&["b.test"]).await.prove("http-01").await.finalize().await;
}
