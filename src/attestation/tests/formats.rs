//! What each format must say.

use harness::attestation::{Cbor, Certification, KeyDescription, SoftTpm};

use super::*;

#[test]
fn a_statement_of_each_format_tells_the_key_that_it_is_about() {
    let site = Site::new();
    let spki = site.key.public_key_to_der().unwrap();
    let mut formats = Vec::new();
    for make in FORMATS {
        let attested = site.verify(&make(&site.device())).unwrap();
        assert_eq!(attested.spki, spki, "{}", attested.format);
        formats.push(attested.format);
    }
    assert_eq!(formats, ["apple", "step", "android-key", "tpm"]);
}

#[test]
fn a_statement_of_a_device_that_nobody_vouches_for_does_not_count() {
    let site = Site::new();
    let other = Vendor::new("other");
    for make in FORMATS {
        let statement = make(&Device { vendor: &other, ..site.device() });
        let refusal = site.refusal(&statement);
        assert!(matches!(refusal, AttestationError::Chain(_)), "{}: {refusal}", statement.format);
        // Nor does any where there are no roots.
        let object = make(&site.device()).object();
        let refusal = verify(&object, &Roots::default(), &expected()).unwrap_err();
        assert!(matches!(refusal, AttestationError::Chain(_)), "{}: {refusal}", statement.format);
    }
}

#[test]
fn a_statement_for_another_challenge_or_account_does_not_count() {
    let site = Site::new();
    let (token, key_authorization) =
        ("another", "another.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI");
    for make in FORMATS {
        let statement = make(&Device { token, key_authorization, ..site.device() });
        let refusal = site.refusal(&statement);
        // A signature is looked at before what it is about.
        let right = matches!(refusal, AttestationError::Challenge(_) | AttestationError::Signature);
        assert!(right, "{}: {refusal}", statement.format);
    }
    // Apple's authority knows no account; all others bind it.
    let (_, of_another) = KEY_AUTHORIZATION.split_at(TOKEN.len());
    let of_another = format!("{TOKEN}{}", of_another.replace('9', "8"));
    for make in FORMATS {
        let statement = make(&Device { key_authorization: &of_another, ..site.device() });
        assert_eq!(site.verify(&statement).is_ok(), statement.format == "apple");
    }
}

#[test]
fn a_certificate_that_is_over_or_not_yet_begun_does_not_count() {
    let site = Site::new();
    for make in FORMATS {
        for days in [-2, 2] {
            let now_s = NOW_S + days * DAY_S;
            let statement = make(&Device { now_s, ..site.device() });
            let refusal = site.refusal(&statement);
            assert!(
                matches!(refusal, AttestationError::Chain(_)),
                "{}: {refusal}",
                statement.format
            );
        }
    }
}

#[test]
fn a_signature_that_was_tampered_with_does_not_count() {
    let site = Site::new();
    for make in FORMATS {
        let statement = make(&site.device()).tampered();
        let refusal = site.refusal(&statement);
        let right = matches!(refusal, AttestationError::Signature | AttestationError::Chain(_));
        assert!(right, "{}: {refusal}", statement.format);
    }
}

#[test]
fn a_statement_of_another_device_does_not_count() {
    let site = Site::new();
    for make in FORMATS {
        let statement = make(&Device { serial: "87654321", ..site.device() });
        assert_eq!(site.refusal(&statement), AttestationError::Device, "{}", statement.format);
        // Nobody says who assigned the serial.
        let assigned = Expected { assigner: Some("1.2.3"), ..expected() };
        let object = make(&site.device()).object();
        let refusal = verify(&object, &site.roots, &assigned).unwrap_err();
        assert_eq!(refusal, AttestationError::Device, "{}", statement.format);
    }
}

#[test]
fn a_member_that_is_missing_is_named() {
    let site = Site::new();
    for (make, members) in FORMATS.into_iter().zip([
        &["x5c"][..],
        &["x5c", "sig"],
        &["x5c", "sig", "alg"],
        &["x5c", "sig", "alg", "ver", "certInfo", "pubArea"],
    ]) {
        for member in members {
            let statement = make(&site.device()).without(member);
            assert_eq!(site.refusal(&statement), AttestationError::Missing(member));
        }
    }
}

#[test]
fn the_certificate_of_a_ca_is_no_device() {
    let site = Site::new();
    let authority = site.vendor.authority.certificate.to_der().unwrap();
    for make in FORMATS {
        let statement = make(&site.device());
        let statement = statement.with("x5c", Cbor::Array(vec![Cbor::Bytes(authority.clone())]));
        let refusal = site.refusal(&statement);
        assert_eq!(refusal, AttestationError::Certificate("is that of a CA"));
    }
}

#[test]
fn keys_of_both_types_are_attested_and_attest_by_a_tpm() {
    for (attested, own) in [(csr::p256(), csr::rsa(2048)), (csr::rsa(2048), csr::p256())] {
        let site = Site::with(attested);
        let statement = site.device().tpm_with(&Certification::default(), &own);
        let found = site.verify(&statement).unwrap();
        assert_eq!(found.spki, site.key.public_key_to_der().unwrap());
    }
}

#[test]
fn what_a_tpm_itself_says_counts() {
    let site = Site::new();
    let tpm = SoftTpm::start();
    let statement = tpm.attest(&site.device());
    let found = site.verify(&statement).unwrap();
    assert_eq!(found.spki, tpm.key().public_key_to_der().unwrap());
    let elsewhere = Device { key_authorization: "another", ..site.device() };
    let refusal = site.refusal(&tpm.attest(&elsewhere));
    assert_eq!(refusal, AttestationError::Challenge("extraData"));
}

#[test]
fn a_tpm_must_have_made_the_key_keep_it_and_say_so_itself() {
    let site = Site::new();
    let refused = |said: Certification| site.refusal(&site.device().tpm_with(&said, &csr::p256()));
    let usual = || Certification::default();
    let all = usual().attributes;
    for (bit, why) in [(1, "taken out"), (4, "taken out"), (5, "not made by"), (18, "not for sign")]
    {
        let refusal = refused(Certification { attributes: all & !(1 << bit), ..usual() });
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
    let refusal = refused(Certification { attributes: all | 1 << 16, ..usual() });
    assert!(refusal.to_string().contains("not for sign"), "{refusal}");
    // Whatever a caller may have it sign does not begin so.
    let refusal = refused(Certification { magic: 0xff54_4348, ..usual() });
    assert_eq!(refusal, AttestationError::Unreadable("certInfo"));
    let refusal = refused(Certification { extra_data: Some(vec![0; 32]), ..usual() });
    assert_eq!(refusal, AttestationError::Challenge("extraData"));
    let refusal = refused(Certification { name: Some(vec![0; 34]), ..usual() });
    assert!(refusal.to_string().contains("certInfo certifies"), "{refusal}");
    let refusal = refused(Certification { is_attestation_key: false, ..usual() });
    assert!(refusal.to_string().contains("extKeyUsage"), "{refusal}");
    let refusal = refused(Certification { subject: "a device", ..usual() });
    assert!(refusal.to_string().contains("subject"), "{refusal}");
}

#[test]
fn the_structures_of_a_tpm_are_read_to_their_end_and_no_further() {
    let site = Site::new();
    let statement = site.device().tpm();
    for member in ["certInfo", "pubArea", "sig"] {
        let Some(Cbor::Bytes(bytes)) = statement.get(member).cloned() else { panic!("{member}") };
        for cut in 0..bytes.len() {
            site.refusal(&statement.clone().with(member, Cbor::Bytes(bytes[..cut].to_vec())));
        }
        let longer = [&bytes[..], &[0]].concat();
        site.refusal(&statement.clone().with(member, Cbor::Bytes(longer)));
    }
}

#[test]
fn android_must_keep_the_key_in_hardware_where_it_was_made() {
    let site = Site::new();
    let usual = KeyDescription::default;
    site.verify(&site.device().android_with(&KeyDescription { level: 2, ..usual() })).unwrap();
    for (described, why) in [
        (KeyDescription { level: 0, ..usual() }, "hardware"),
        (KeyDescription { level: 3, ..usual() }, "hardware"),
        (KeyDescription { origin: 2, ..usual() }, "not made"),
        (KeyDescription { purpose: 0, ..usual() }, "signatures"),
        (KeyDescription { all_applications: true, ..usual() }, "every application"),
        (KeyDescription { challenge: Some(vec![0; 32]), ..usual() }, "attestationChallenge"),
        (KeyDescription { challenge: Some(Vec::new()), ..usual() }, "attestationChallenge"),
    ] {
        let refusal = site.refusal(&site.device().android_with(&described));
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
}
