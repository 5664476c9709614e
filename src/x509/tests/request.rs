//! Requests for CA certificates, judged by OpenSSL and by the lint.

use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME as SAN;
use der::asn1::SetOfVec;
use der::{Decode, Encode};
use openssl::x509::X509Req;
use x509_cert::attr::Attribute;
use x509_cert::request::{CertReqInfo, ExtensionReq};

use super::{Key, names, subject};
use crate::x509::algorithm::ParameterSet;
use crate::x509::csr::CsrError;
use crate::x509::extensions;
use crate::x509::lint::{AssembleError, LintError, lint_request};
use crate::x509::request::{CaRequest, ReceivedRequest, RequestError};

fn signed(request: &CaRequest<'_>, key: &Key) -> Vec<u8> {
    let linted = lint_request(request.info().unwrap(), request).unwrap();
    let signature = key.verified_as(request.algorithm, linted.der());
    linted.assemble(&signature).unwrap()
}

#[test]
fn a_request_is_what_openssl_takes_and_says_what_the_ca_is_to_be() {
    let ml_dsa = Key::ml_dsa(ParameterSet::MlDsa65);
    for key in [Key::p256(), Key::rsa(2048), Key::ed25519(), ml_dsa] {
        let subject = subject("CN=Below,O=kipuka");
        let request = CaRequest {
            subject: &subject,
            public_key: &key.public,
            algorithm: key.algorithm(),
            path_len: Some(0),
        };
        let der = signed(&request, &key);
        let openssl = X509Req::from_der(&der).unwrap();
        assert_eq!(openssl.extensions().unwrap().len(), 3);
        if let Some(public) = key.public.pkey() {
            assert!(openssl.verify(public).unwrap());
        }
        let read = ReceivedRequest::from_der(&der).unwrap();
        assert_eq!(read.subject, subject);
        assert_eq!(read.public_key, key.public);
        assert_eq!(read.path_len, Some(0));
    }
}

#[test]
fn only_its_own_key_signs_a_request() {
    let (key, stranger) = (Key::p256(), Key::p256());
    let subject = subject("CN=Below");
    let request = CaRequest {
        subject: &subject,
        public_key: &key.public,
        algorithm: key.algorithm(),
        path_len: None,
    };
    let linted = lint_request(request.info().unwrap(), &request).unwrap();
    let signature = stranger.verified_as(request.algorithm, linted.der());
    assert_eq!(linted.assemble(&signature), Err(AssembleError::Signature));
    let mut forged = signed(&request, &key);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(ReceivedRequest::from_der(&forged), Err(CsrError::Signature.into()));
}

#[test]
fn each_altered_part_of_a_request_is_caught() {
    let (key, other) = (Key::p256(), Key::p256());
    let (mine, theirs) = (subject("CN=Below"), subject("CN=Other"));
    let request = CaRequest {
        subject: &mine,
        public_key: &key.public,
        algorithm: key.algorithm(),
        path_len: Some(0),
    };
    for (altered, error) in [
        (CaRequest { subject: &theirs, ..request }, LintError::Subject),
        (CaRequest { public_key: &other.public, ..request }, LintError::PublicKey),
        (CaRequest { path_len: None, ..request }, LintError::Extension("basicConstraints")),
    ] {
        let errors = lint_request(altered.info().unwrap(), &request).unwrap_err();
        assert!(errors.contains(&error), "{error:?}: {errors:?}");
    }
    let info = request.info().unwrap();
    let with = |change: fn(&mut CertReqInfo)| {
        let mut info = CertReqInfo::from_der(&info).unwrap();
        change(&mut info);
        lint_request(info.to_der().unwrap(), &request).unwrap_err()
    };
    let errors = with(|info| info.attributes = SetOfVec::new());
    assert_eq!(errors, [LintError::Malformed]);
    let errors = with(|info| {
        let attribute = info.attributes.iter().next().unwrap();
        let value = attribute.values.iter().next().unwrap();
        let mut wanted: ExtensionReq = value.decode_as().unwrap();
        let names = names(&["a.test"]);
        let san = extensions::subject_alt_name(names.iter(), [].into_iter(), [].into_iter(), false)
            .unwrap();
        wanted.0.push(san);
        let attribute = Attribute::try_from(wanted).unwrap();
        info.attributes = SetOfVec::try_from([attribute]).unwrap();
    });
    assert_eq!(errors, [LintError::UnknownExtension(SAN.to_string())]);
    let mut trailing = info.clone();
    trailing.push(0);
    assert!(lint_request(trailing, &request).is_err());
}

#[test]
fn a_request_for_no_ca_or_without_a_name_is_refused() {
    let key = Key::p256();
    let write = |subject: &[u8], ca: bool| {
        let mut request = openssl::x509::X509ReqBuilder::new().unwrap();
        let name = openssl::x509::X509Name::from_der(subject).unwrap();
        request.set_subject_name(&name).unwrap();
        request.set_pubkey(key.openssl()).unwrap();
        let mut list = openssl::stack::Stack::new().unwrap();
        let mut builder = openssl::x509::extension::BasicConstraints::new();
        if ca {
            builder.ca();
        }
        list.push(builder.build().unwrap()).unwrap();
        request.add_extensions(&list).unwrap();
        request.sign(key.openssl(), openssl::hash::MessageDigest::sha256()).unwrap();
        request.build().to_der().unwrap()
    };
    let named = subject("CN=Below");
    assert!(ReceivedRequest::from_der(&write(named.der(), true)).is_ok());
    let refused = ReceivedRequest::from_der(&write(named.der(), false));
    assert_eq!(refused, Err(RequestError::NoCa));
    let refused = ReceivedRequest::from_der(&write(&[0x30, 0], true));
    assert!(matches!(refused, Err(RequestError::Subject(_))), "{refused:?}");
}
