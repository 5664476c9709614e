//! SIGHUP: all or nothing, while serving.

use std::fs;
use std::time::Duration;

use harness::{Ca, Issuer};
use harness::{Server, Settings, csr};

use crate::BINARY;

fn wait_for(server: &Server, message: &str) {
    for _ in 0..200 {
        if server.log().contains(message) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{message} never came: {}", server.log());
}

#[tokio::test]
async fn a_second_ca_is_added_by_a_reload_and_a_mistake_changes_nothing() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "one", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("one").await;
    let before = fs::read_to_string(server.config()).unwrap();

    fs::write(server.config(), format!("{before}\n[[ca]]\nid = \"two\"\n")).unwrap();
    server.signal("HUP");
    wait_for(&server, "not reloaded");
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;

    let root = Issuer::root("second root", csr::p256());
    let (certificate, key) = root.write(server.folder.path(), "two", &[]);
    let section =
        format!("[[ca]]\nid = \"two\"\nname = \"two\"\ncert = {certificate:?}\nkey = {key:?}\n");
    fs::write(server.config(), format!("{before}\n{section}")).unwrap();
    server.signal("HUP");
    wait_for(&server, "\"reloaded\"");
    let mut second = server.account("two").await;
    let chain = second.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    harness::acme::verify_chain(&chain, &[root.certificate], "b.test");
    client.order(&["c.test"]).await.prove("http-01").await.finalize().await;
}
