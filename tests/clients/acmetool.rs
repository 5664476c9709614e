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
    fs::create_dir_all(state.join("hooks")).unwrap();
    fs::copy(script("hooks/acmetool.sh"), state.join("hooks/dns")).unwrap();
}

fn acmetool(server: &Server, command: &str) {
    let acmetool = "acmetool --batch --state $FOLDER/acmetool --hooks $FOLDER/acmetool/hooks";
    run(server, &format!("SSL_CERT_FILE=$ROOT {acmetool} {command}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn acmetool_issues_with_http_01() {
    let server = server().await;
    configure(&server);
    acmetool(&server, "want www.example.test a.www.example.test");
    let names = ["www.example.test", "a.www.example.test"];
    leaf(&server, "acmetool/live/www.example.test/fullchain", &names);
}
