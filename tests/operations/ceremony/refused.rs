//! What a ceremony refuses, each with its sentence and exit code.

use std::fs;

use super::Ceremony;

#[test]
fn wrong_usage_ends_with_2_and_a_sentence() {
    let ceremony = Ceremony::new();
    let root = |subject: &str, rest: &str| {
        format!("ca create-root --id 07 --subject {subject} --out root.pem {rest}")
    };
    for (subject, sentence) in [
        ("/C=DE/CN=Root", "here (RFC 4514) the common name comes first: CN=Root,C=DE"),
        ("Root", "is no attribute with its value"),
        ("XX=Root", "is no attribute of a name; use CN, O, OU"),
        ("CN=Root;O=Example", "is no separator"),
        ("CN=Root,C=Germany", "is no country of two capital letters"),
        ("CN=Root_,O=Example", "has a space at an end"),
    ] {
        ceremony.refused(&root(subject, "--days 10"), 2, sentence);
    }
    for days in ["0", "-1", "36501", "ten", "max"] {
        ceremony.refused(&root("CN=Root", &format!("--days={days}")), 2, "1 to 36500");
    }
    ceremony.refused(&root("CN=Root", ""), 2, "--days");
    ceremony.refused(&root("CN=Root", "--days 10 --generate ec-p256"), 2, "--label");
    ceremony.refused(&root("CN=Root", "--days 10 --generate dsa --label l"), 2, "is no key type");
    ceremony.refused(
        "ca create-root --id 7 --subject CN=a --days 1 --out a",
        2,
        "whole bytes in hex",
    );
    let below = "ca create-intermediate --id 08 --subject CN=CA";
    ceremony.refused(&format!("{below} --out ca.pem --days 1"), 2, "--issuer-cert");
    ceremony.refused(&format!("{below} --csr-out ca.csr --out ca.pem"), 2, "cannot be used with");
    ceremony.refused(
        &format!("{below} --csr-out ca.csr --issuer-id 07 --issuer-cert root.pem"),
        2,
        "cannot be used with",
    );
    let issuer = "--issuer-id 07 --issuer-cert gone.pem";
    ceremony.refused(
        &format!("{below} --out ca.pem --days 1 {issuer}"),
        2,
        "gone.pem: cannot be read",
    );
    ceremony.refused("ca show nowhere", 2, "there is no [[ca]] with the id \"nowhere\"");
    ceremony.refused("ca verify --root gone.pem", 2, "gone.pem: cannot be read");
}

/// As keys on PIV cards are.
#[test]
fn a_key_that_wants_a_login_before_each_signature_is_refused() {
    let ceremony = Ceremony::new();
    ceremony.token.shell(
        "pkcs11-tool --module $MODULE --token-label kipuka --login --pin $PIN --keypairgen \
         --key-type EC:prime256v1 --id 07 --label strict --always-auth",
    );
    ceremony.refused(
        "ca create-root --id 07 --subject CN=Root --days 30 --out root.pem",
        1,
        "wants a login before each signature (CKA_ALWAYS_AUTHENTICATE)",
    );
    assert!(ceremony.run("hsm keys").contains("always authenticate"));
}

#[test]
fn what_cannot_be_signed_ends_with_1_and_a_sentence() {
    let ceremony = Ceremony::new();
    let root = "ca create-root --subject CN=Root --days 30";
    ceremony.refused(
        &format!("{root} --id 77 --out root.pem"),
        1,
        "the token \"kipuka\" has no private key with CKA_ID 77; it has: nothing",
    );
    ceremony.run(&format!(
        "{root} --id 07 --generate ec-p256 --label root --path-len 1 --out root.pem"
    ));
    ceremony.refused(
        &format!("{root} --id 07 --generate ec-p256 --label root --out b.pem"),
        1,
        "the id 07 is taken",
    );
    ceremony.refused(&format!("{root} --id 07 --out gone/root.pem"), 1, "make the folder first");
    let below = |id: &str, name: &str, issuer: &str, rest: &str| {
        format!(
            "ca create-intermediate --id {id} --subject CN={name} --issuer-id {issuer} --out \
             {name}.pem {rest}"
        )
    };
    ceremony.run(&below(
        "08",
        "Middle",
        "07",
        "--issuer-cert root.pem --days 20 --generate ec-p256 --label m",
    ));
    ceremony.run("hsm keygen --id 09 --type ec-p256 --label lowest");
    for (line, sentence) in [
        (
            below("09", "Lowest", "08", "--issuer-cert root.pem --days 9"),
            "they do not belong together; check --issuer-id and --issuer-cert",
        ),
        (
            below("09", "Lowest", "77", "--issuer-cert root.pem --days 9"),
            "no private key with CKA_ID 77",
        ),
        (
            below("09", "Lowest", "07", "--issuer-cert root.pem --days 31"),
            "or fewer, or --days max for as long as the issuer",
        ),
        (
            below("09", "Lowest", "07", "--issuer-cert root.pem --days 9 --path-len 1"),
            "write --path-len 0",
        ),
        // Middle itself has no limit: the root above it has.
        (below("09", "Lowest", "08", "--issuer-cert Middle.pem --days 9"), "its path length is 0"),
        (below("09", "Root", "07", "--issuer-cert root.pem --days 9"), "the name of its issuer"),
        (below("07", "Own", "07", "--issuer-cert root.pem --days 9"), "its issuer's own"),
        (
            below("09", "Lowest", "07", "--issuer-cert kipuka.toml --days 9"),
            "there is no certificate in it",
        ),
    ] {
        ceremony.refused(&line, 1, sentence);
    }
}

#[test]
fn an_issuer_that_has_expired_signs_nothing() {
    let ceremony = Ceremony::new();
    ceremony.run(
        "ca create-root --id 07 --generate ec-p256 --label r --subject CN=R --days 9 --out r.pem",
    );
    ceremony.run("hsm keygen --id 08 --type ec-p256 --label ca");
    ceremony.shell(
        "openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout top.key \
         -subj /CN=Top -addext keyUsage=critical,keyCertSign,cRLSign -out top.pem -days 99 2>/dev/null",
    );
    // The same key below a root by OpenSSL, which can write what is over already.
    ceremony.run("ca create-intermediate --id 07 --subject CN=R --csr-out r.csr");
    ceremony.shell(
        "openssl x509 -req -in r.csr -CA top.pem -CAkey top.key -set_serial 1 -days -1 \
         -copy_extensions copy -out old.pem 2>/dev/null",
    );
    let below =
        "ca create-intermediate --id 08 --subject CN=CA --issuer-id 07 --days 1 --out ca.pem";
    ceremony.refused(
        &format!("{below} --issuer-cert old.pem"),
        1,
        "the CA's certificate has expired",
    );
    ceremony.refused(
        "ca cross-sign --cert old.pem --issuer-id 08 --issuer-cert r.pem --days 1 --out x.pem",
        1,
        "old.pem: the CA's certificate expired at",
    );
    ceremony.run(&format!("{below} --issuer-cert r.pem"));
}

#[test]
fn nothing_is_overwritten_unless_it_is_forced() {
    let ceremony = Ceremony::new();
    let root = "ca create-root --id 07 --subject CN=Root --days 30 --out root.pem";
    ceremony.run("hsm keygen --id 07 --type ec-p256 --label root");
    ceremony.run(root);
    let first = ceremony.read("root.pem");
    ceremony.refused(
        root,
        1,
        "root.pem: there is such a file already; name another, or replace it with --force",
    );
    assert_eq!(ceremony.read("root.pem"), first);
    ceremony.refused(&format!("{root} --force --transcript root.pem"), 2, "name another");
    // The transcript is as dear as the certificate.
    fs::remove_file(ceremony.path("root.pem")).unwrap();
    ceremony.refused(root, 1, "root.pem.transcript.txt: there is such a file already");
    ceremony.run(&format!("{root} --transcript second.txt"));
    ceremony.run(&format!("{root} --force"));
    assert_ne!(ceremony.read("root.pem"), first);
    let files = ceremony.files();
    assert_eq!(files, ["kipuka.toml", "root.pem", "root.pem.transcript.txt", "second.txt"]);
}
