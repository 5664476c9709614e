//! acmetool, which is told what is wanted and sees to it.

use std::fs;

use harness::Server;

use crate::{leaf, run, script, server, shown};

/// What `acmetool quickstart` asks and writes.
fn configure(server: &Server) {
    let state = server.folder.path().join("acmetool");
    fs::create_dir_all(state.join("conf")).unwrap();
    let target = format!(
        "request:\n  provider: {}\n  key:\n    type: ecdsa\n    ecdsa-curve: nistp256\n  challenge:\n\
         \x20   webroot-paths:\n    - {}\n    http-self-test: false\n",
        server.directory("ca"),
        shown(server).join("http-01").display()
    );
    fs::write(state.join("conf/target"), target).unwrap();
    let responses = "\"acme-enter-email\": \"admin@example.test\"\n";
    fs::write(state.join("conf/responses"), responses).unwrap();
    let hooks = server.folder.path().join("acmetool-hooks");
    fs::create_dir_all(&hooks).unwrap();
    fs::copy(script("hooks/acmetool.sh"), hooks.join("dns")).unwrap();
}

fn acmetool(server: &Server, command: &str) {
    let acmetool = "acmetool --batch --state $FOLDER/acmetool --hooks $FOLDER/acmetool-hooks";
    run(server, &format!("SSL_CERT_FILE=$ROOT {acmetool} {command}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn acmetool_issues_what_is_wanted_and_again_what_is_lost_with_http_01() {
    let server = server().await;
    configure(&server);
    acmetool(&server, "want www.example.test a.www.example.test");
    let names = ["www.example.test", "a.www.example.test"];
    let certificate = || leaf(&server, "acmetool/live/www.example.test/fullchain", &names);
    let first = certificate();
    // It cannot be told to renew before a third of the lifetime is left; what is lost is fetched anew.
    run(&server, "rm -r $FOLDER/acmetool/certs/*");
    acmetool(&server, "reconcile");
    assert_ne!(first.to_der().unwrap(), certificate().to_der().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn acmetool_gets_a_wildcard_with_dns_01() {
    let server = server().await;
    configure(&server);
    acmetool(&server, "want '*.example.test' example.test");
    leaf(&server, "acmetool/live/example.test/fullchain", &["example.test", "*.example.test"]);
}
