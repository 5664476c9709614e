//! uacme, which reads header names letter by letter.

use std::fs;

use harness::command::shell;

use crate::{openssl_verify, server};

#[tokio::test(flavor = "multi_thread")]
async fn uacme_issues_with_http_01() {
    let server = server().await;
    let folder = server.folder.path();
    let shown = folder.join("shown");
    fs::create_dir(&shown).unwrap();
    // uacme calls: hook begin http-01 NAME TOKEN KEY-AUTHORIZATION; "done" and "failed" clean up.
    let hook = folder.join("hook.sh");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = begin ] || exit 0\n[ \"$2\" = http-01 ] || exit 1\n\
         printf %s \"$5\" > {0}/.$4 && mv {0}/.$4 {0}/$4\nwhile [ -e {0}/$4 ]; do sleep 0.05; done\n",
        shown.display()
    );
    fs::write(&hook, script).unwrap();
    let (responder, watched) = (server.responder.clone(), shown.clone());
    let copier = tokio::spawn(async move {
        loop {
            for file in fs::read_dir(&watched).unwrap().flatten() {
                let token = file.file_name().to_string_lossy().into_owned();
                if !token.starts_with('.') {
                    responder.show_http01(&token, &fs::read_to_string(file.path()).unwrap());
                    fs::remove_file(file.path()).unwrap();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    tokio::task::block_in_place(|| {
        // uacme trusts the system's store and no other, so it runs where that store is our root.
        let root = server.root();
        let uacme = format!(
            "chmod +x {hook}; uacme='uacme -v -y -c {folder}/uacme -a {directory} -t EC'; \
             unshare --map-root-user --mount bash -euc \"\
             mount --bind {root} /etc/ssl/certs/ca-certificates.crt; \
             $uacme new; $uacme -h {hook} issue www.uacme.test\"",
            hook = hook.display(),
            folder = folder.display(),
            directory = server.directory("ca"),
            root = root.display()
        );
        shell(&uacme, &[]);
    });
    copier.abort();
    openssl_verify(&server, &format!("{}/uacme/www.uacme.test/cert.pem", folder.display()));
}
