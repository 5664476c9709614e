//! A root elsewhere: requests that go there, certificates that come back, and second certificates.

use std::fs;

use harness::{Issuer, csr};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Name, X509Req};

use super::Ceremony;

/// A root with OpenSSL alone, as it stands on a laptop in a safe.
const OFFLINE_ROOT: &str = "
cat > root.cnf <<CNF
[req]
distinguished_name = name
x509_extensions = root
[name]
[root]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[below]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CNF
openssl req -config root.cnf -new -x509 -newkey rsa:2048 -nodes -keyout root-key.pem \\
  -out offline-root.pem -days 3650 -subj '/C=DE/O=Example/CN=Offline Root' 2>/dev/null
";

const OFFLINE_SIGNS: &str = "
openssl req -in ca.csr -noout -verify 2>&1 | grep 'verify OK'
openssl x509 -req -in ca.csr -CA offline-root.pem -CAkey root-key.pem -CAcreateserial \\
  -days 1825 -extfile root.cnf -extensions below -out back.pem 2>/dev/null
";

#[test]
fn an_offline_root_made_by_openssl_signs_a_request_and_what_comes_back_is_taken() {
    let ceremony = Ceremony::new();
    ceremony.shell(OFFLINE_ROOT);
    ceremony.run(
        "ca create-intermediate --id 08 --generate ec-p384 --label ca --path-len 0 \
         --subject CN=Example_CA,O=Example,C=DE --csr-out ca.csr",
    );
    let text = ceremony.shell("openssl req -in ca.csr -noout -text");
    for part in [
        "Subject: C = DE, O = Example, CN = Example CA",
        "CA:TRUE, pathlen:0",
        "Digital Signature, Certificate Sign, CRL Sign",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    ceremony.shell(OFFLINE_SIGNS);
    let import = "ca import --id 08 --csr ca.csr --cert back.pem --out ca.pem";
    ceremony.refused(
        import,
        1,
        "the certificate of CN=Offline Root,O=Example,C=DE, which signed that of CN=Example \
         CA,O=Example,C=DE, is not there; give it with --issuer-cert",
    );
    ceremony.run(&format!("{import} --issuer-cert offline-root.pem"));
    ceremony.shell("openssl verify -x509_strict -CAfile offline-root.pem ca.pem");
    ceremony.configure("\n[[ca]]\nid = \"example\"\ncert = \"ca.pem\"\nhsm_slot = 8\n");
    let said = ceremony.run("ca verify --root offline-root.pem");
    assert!(said.contains("path to CN=Offline Root,O=Example,C=DE"), "{said}");

    // In DER, in one file with the root in front, and without the request: the same.
    ceremony.shell(
        "openssl x509 -in back.pem -outform DER -out back.cer\n\
         cat offline-root.pem back.pem > both.pem",
    );
    let subject = "--subject CN=Example_CA,O=Example,C=DE";
    ceremony.run(&format!(
        "ca import --id 08 {subject} --cert back.cer --issuer-cert offline-root.pem --out der.pem"
    ));
    ceremony.run(&format!("ca import --id 08 {subject} --cert both.pem --out both-ca.pem"));
    assert_eq!(ceremony.read("der.pem"), ceremony.read("ca.pem"));
    assert_eq!(ceremony.read("both-ca.pem"), ceremony.read("ca.pem"));
}

/// What a careless CA may send back.
struct Back<'a> {
    request: &'a X509Req,
    root: &'a Issuer,
    subject: Option<&'static str>,
    is_ca: bool,
    /// Certificates, and CRLs.
    may_sign: (bool, bool),
}

impl Back<'_> {
    fn pem(&self) -> Vec<u8> {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(
                &openssl::bn::BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap(),
            )
            .unwrap();
        let name = self.subject.map(|name| {
            let mut subject = X509Name::builder().unwrap();
            subject.append_entry_by_text("CN", name).unwrap();
            subject.build()
        });
        let name = name.as_deref().unwrap_or_else(|| self.request.subject_name());
        builder.set_subject_name(name).unwrap();
        builder.set_issuer_name(self.root.certificate.subject_name()).unwrap();
        builder.set_pubkey(&self.request.public_key().unwrap()).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(1_700_000_000).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(100).unwrap()).unwrap();
        let mut constraints = BasicConstraints::new();
        if self.is_ca {
            constraints.ca();
        }
        builder.append_extension(constraints.critical().build().unwrap()).unwrap();
        let mut usage = KeyUsage::new();
        if self.may_sign.0 {
            usage.key_cert_sign();
        }
        if self.may_sign.1 {
            usage.crl_sign();
        }
        builder.append_extension(usage.critical().digital_signature().build().unwrap()).unwrap();
        builder.sign(&self.root.key, MessageDigest::sha256()).unwrap();
        builder.build().to_pem().unwrap()
    }
}

#[test]
fn what_comes_back_wrong_is_refused_with_what_is_wrong_with_it() {
    let ceremony = Ceremony::new();
    for id in ["08", "09"] {
        ceremony.run(&format!(
            "ca create-intermediate --id {id} --generate ec-p256 --label ca --subject CN=CA \
             --csr-out {id}.csr"
        ));
    }
    let root = Issuer::root("root", csr::p256());
    let stranger = Issuer::root("root", csr::p256());
    root.write(ceremony.folder.path(), "root", &[]);
    let request = X509Req::from_pem(ceremony.read("08.csr").as_bytes()).unwrap();
    let right = || Back {
        request: &request,
        root: &root,
        subject: None,
        is_ca: true,
        may_sign: (true, true),
    };
    let import =
        "ca import --id 08 --csr 08.csr --cert back.pem --issuer-cert root.pem --out ca.pem";
    for (back, sentence) in [
        (
            Back { subject: Some("Other"), ..right() },
            "the certificate's subject is CN=Other, and not CN=CA",
        ),
        (Back { is_ca: false, ..right() }, "certificate 1 is not that of a CA"),
        (Back { may_sign: (false, true), ..right() }, "its keyUsage lacks keyCertSign"),
        (Back { may_sign: (true, false), ..right() }, "the certificate's key usage lacks cRLSign"),
        (
            Back { root: &stranger, ..right() },
            "the certificate of CN=root, which signed that of CN=CA, is not there",
        ),
    ] {
        fs::write(ceremony.path("back.pem"), back.pem()).unwrap();
        ceremony.refused(import, 1, sentence);
    }

    let sign = "openssl x509 -req -in 08.csr -CA root.pem -CAkey root-key.pem -set_serial 9 \
                -copy_extensions copy -out back.pem";
    ceremony.shell(&format!("{sign} -days 9 2>/dev/null"));
    ceremony.refused(
        "ca import --id 09 --csr 09.csr --cert back.pem --issuer-cert root.pem --out ca.pem",
        1,
        "no certificate in it is for this key",
    );
    ceremony.refused(
        "ca import --id 09 --csr 08.csr --cert back.pem --issuer-cert root.pem --out ca.pem",
        1,
        "they do not belong together; check --csr and --id",
    );
    ceremony.refused(
        "ca import --id 08 --subject CN=CA --cert 08.csr --out ca.pem",
        1,
        "08.csr: there is no certificate in it",
    );
    ceremony.refused("ca import --id 08 --cert back.pem --out ca.pem", 2, "--csr");
    ceremony.run(import);
    ceremony.shell(&format!("{sign} -days -1 2>/dev/null"));
    ceremony.refused(&format!("{import} --force"), 1, "the certificate expired at 20");
}

#[test]
fn a_request_made_by_openssl_is_signed_and_a_forged_one_is_not() {
    let ceremony = Ceremony::new();
    ceremony.run(
        "ca create-root --id 07 --generate rsa-2048 --label root --subject CN=Root --days 3650 \
         --path-len 1 --out root.pem",
    );
    ceremony.shell(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
         -subj '/C=DE/O=Elsewhere/CN=Their CA' -out theirs.csr 2>/dev/null\n\
         openssl req -in theirs.csr -outform DER -out theirs.der\n\
         openssl req -new -key key.pem -subj '/CN=www.test' -addext basicConstraints=CA:FALSE \
         -out leaf.csr",
    );
    let signs = |csr: &str, rest: &str| {
        format!(
            "ca sign-csr --csr {csr} --issuer-id 07 --issuer-cert root.pem --days 99 \
             --out theirs.pem {rest}"
        )
    };
    // A byte of the subject, which the signature is over.
    let mut forged = fs::read(ceremony.path("theirs.der")).unwrap();
    let place = forged.windows(5).position(|window| window == b"Their").unwrap();
    forged[place] = b'W';
    fs::write(ceremony.path("forged.der"), forged).unwrap();
    ceremony.refused(
        &signs("forged.der", "--force"),
        1,
        "forged.der: the CSR's signature is not one by the key in the CSR",
    );
    ceremony.refused(
        &signs("leaf.csr", "--force"),
        1,
        "leaf.csr: the CSR asks for a certificate that is no CA's",
    );
    ceremony.refused(&signs("theirs.csr", "--path-len 1"), 1, "write --path-len 0");
    ceremony.refused(&signs("root.pem", "--force"), 1, "there is no CSR in it");
    ceremony.refused(&signs("nowhere.csr", "--force"), 2, "nowhere.csr: cannot be read");

    ceremony.run(&signs("theirs.csr", "--path-len 0"));
    ceremony.shell("openssl verify -x509_strict -CAfile root.pem theirs.pem");
    let subject = ceremony.shell("openssl x509 -in theirs.pem -noout -subject");
    assert_eq!(subject.trim(), "subject=C = DE, O = Elsewhere, CN = Their CA");
    ceremony.run(&signs("theirs.der", "--force"));
}

#[test]
fn a_cross_signed_ca_is_trusted_by_either_root_and_so_is_what_is_below_it() {
    let ceremony = Ceremony::new();
    for (id, name) in [("01", "One"), ("02", "Two")] {
        ceremony.run(&format!(
            "ca create-root --id {id} --generate ec-p256 --label {name} --subject CN={name} \
             --days 3650 --out {name}.pem"
        ));
    }
    let below = |id: &str, name: &str, issuer: &str, cert: &str, days: u32| {
        ceremony.run(&format!(
            "ca create-intermediate --id {id} --generate ec-p256 --label {name} --subject CN={name} \
             --issuer-id {issuer} --issuer-cert {cert} --days {days} --out {name}.pem"
        ));
    };
    below("03", "CA", "01", "One.pem", 365);
    below("04", "Below", "03", "CA.pem", 99);
    ceremony.run(
        "ca cross-sign --cert CA.pem --issuer-id 02 --issuer-cert Two.pem --days 99 --out cross.pem",
    );
    ceremony.shell(
        "openssl verify -x509_strict -CAfile One.pem -untrusted CA.pem Below.pem\n\
         openssl verify -x509_strict -CAfile Two.pem -untrusted cross.pem Below.pem\n\
         for field in subject pubkey; do test \"$(openssl x509 -in CA.pem -noout -$field)\" = \
         \"$(openssl x509 -in cross.pem -noout -$field)\"; done",
    );
    let identifier = |file: &str| {
        ceremony.shell(&format!("openssl x509 -in {file} -noout -ext subjectKeyIdentifier"))
    };
    assert_eq!(identifier("CA.pem"), identifier("cross.pem"));
    // A root may be cross-signed, too, so that those who trust the old one trust the new one.
    ceremony.run(
        "ca cross-sign --cert Two.pem --issuer-id 01 --issuer-cert One.pem --days 99 --out two-by-one.pem",
    );
    ceremony.shell("openssl verify -x509_strict -CAfile One.pem two-by-one.pem");
}
