//! CRLs: when they are signed, what they tell of, and what becomes of them when the key is sick.

use der::Decode;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::{CrlNumber, CrlReason};

use super::*;
use crate::flow::{Revoker, publish_crl, revoke_as_operator, revoke_cert, schedule_crls};
use crate::store::FoundCertificate;
use crate::x509::revocation_list::Reason;

const HOUR: Duration = Duration::from_secs(3600);

/// What a CRL says.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    number: u64,
    serials: Vec<String>,
}

impl Site {
    /// The newest CRL, which the authority's key has signed.
    async fn crl(&self, authority: &Authority) -> Option<Told> {
        let issuer = authority.crl_issuer();
        let published =
            self.store().published_crl(&issuer, &authority.signing_key()).await.unwrap()?;
        let der = self.store().crl(&issuer, published.number).await.unwrap().unwrap();
        let signed = openssl::x509::X509Crl::from_der(&der).unwrap();
        assert!(signed.verify(authority.signer.public_key().pkey().unwrap()).unwrap());
        let crl: CertificateList = CertificateList::from_der(&der).unwrap();
        let list = crl.tbs_cert_list;
        let number = list.crl_extensions.unwrap().into_iter().find_map(|extension| {
            let number = CrlNumber::from_der(extension.extn_value.as_bytes()).ok()?;
            Some(number.0.as_bytes().iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte)))
        });
        assert_eq!(number, u64::try_from(published.number).ok());
        let revoked = list.revoked_certificates.unwrap_or_default();
        let serials =
            revoked.iter().map(|one| crate::x509::description::hex(one.serial_number.as_bytes()));
        Some(Told { number: number.unwrap(), serials: serials.collect() })
    }

    /// Does the work on CRLs that is due, if any.
    async fn publish(&self) {
        if let Some(lease) = self.claim(WorkKind::Crl).await {
            publish_crl(&self.context, lease).await.unwrap();
        }
    }

    async fn schedule(&self) {
        schedule_crls(&self.context).await.unwrap();
    }

    /// A certificate that nobody ordered, over 90 days.
    async fn certificate(&self) -> FoundCertificate {
        let issued = || async { self.store().certificates(None, None, 100).await.unwrap() };
        let before = issued().await;
        let names = ["a.test".to_owned()];
        own_certificate(&self.context, &self.authority, &names, &[]).await.unwrap();
        issued().await.into_iter().find(|found| !before.contains(found)).unwrap()
    }

    async fn revoke(&self, found: &FoundCertificate) {
        let now = self.context.clock.now();
        let revoked =
            revoke_as_operator(self.store(), found, Reason::Superseded, "test".to_owned(), now)
                .await;
        assert!(revoked.unwrap());
    }

    /// Issues and revokes, and returns the serial.
    async fn revoked(&self) -> String {
        let found = self.certificate().await;
        self.revoke(&found).await;
        // Serials are told apart by the millisecond of their revocation.
        self.advance(Duration::from_millis(1));
        found.serial
    }
}

fn told(number: u64, serials: &[&String]) -> Option<Told> {
    Some(Told { number, serials: serials.iter().map(|serial| (*serial).clone()).collect() })
}

#[tokio::test]
async fn a_crl_is_signed_at_the_start_and_when_half_its_life_is_over() {
    let site = Site::new().await;
    assert_eq!(site.crl(&site.authority).await, None);
    site.schedule().await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(1, &[]));
    // Backdated by a minute, its life of seven days is half over after three and a half.
    site.advance(DAY * 7 / 2 - Duration::from_secs(61));
    site.schedule().await;
    assert_eq!(site.pause(WorkKind::Crl).await, None);
    site.advance(Duration::from_secs(1));
    site.schedule().await;
    site.schedule().await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(2, &[]));
    assert_eq!(site.pause(WorkKind::Crl).await, None);
    // Two instances that come upon it together sign one.
    site.advance(DAY * 5);
    site.schedule().await;
    site.publish().await;
    site.store()
        .schedule_crl(&site.authority.crl_issuer(), site.context.clock.now())
        .await
        .unwrap();
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(3, &[]));
    assert_eq!(site.signer.asked(), 3);
}

#[tokio::test]
async fn another_validity_brings_another_crl_and_cas_of_one_certificate_have_the_first_one_s() {
    let site = Site::new().await;
    site.schedule().await;
    site.publish().await;
    let (longer, first) = (DAY * 14, Arc::clone(&site.authority));
    let mut cas = Vec::new();
    for (id, crl_validity) in [("web", Some(longer)), ("other", Some(DAY))] {
        let (other, _) = authority(site.store(), START).await;
        cas.push(Arc::new(Authority {
            id: id.to_owned(),
            chain: first.chain.clone(),
            issuer_id: first.issuer_id.clone(),
            signer: Arc::clone(&first.signer),
            crl_validity,
            ..other
        }));
    }
    site.context.authorities.store(Arc::new(Authorities::new(cas)));
    for _ in 0..3 {
        site.advance(Duration::from_secs(2));
        site.schedule().await;
        site.publish().await;
        assert_eq!(site.crl(&site.authority).await, told(2, &[]));
    }
    let issuer = first.crl_issuer();
    let published =
        site.store().published_crl(&issuer, &first.signing_key()).await.unwrap().unwrap();
    assert_eq!(published.next_update.since(published.this_update), longer);
}

#[tokio::test]
async fn a_revocation_is_told_at_once_and_those_of_a_burst_together() {
    let site = Site::new().await;
    let first = site.revoked().await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(1, &[&first]));
    let mut rest = Vec::new();
    for _ in 0..5 {
        rest.push(site.revoked().await);
        site.publish().await;
    }
    assert_eq!(site.crl(&site.authority).await, told(1, &[&first]), "within a second of the first");
    site.advance(Duration::from_secs(1));
    site.publish().await;
    let all: Vec<_> = [&first].into_iter().chain(&rest).collect();
    assert_eq!(site.crl(&site.authority).await, told(2, &all));
    assert_eq!(site.pause(WorkKind::Crl).await, None);
}

#[tokio::test]
async fn what_is_revoked_while_a_crl_is_signed_is_told_by_the_next() {
    let site = Site::new().await;
    let found = site.certificate().await;
    let first = site.revoked().await;
    let lease = site.claim(WorkKind::Crl).await.unwrap();
    // After the claim: whether the CRL under way tells of it or not, another one is due.
    site.revoke(&found).await;
    publish_crl(&site.context, lease).await.unwrap();
    assert_eq!(site.pause(WorkKind::Crl).await, Some(Duration::ZERO));
    site.advance(Duration::from_secs(1));
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(2, &[&first, &found.serial]));
    assert_eq!(site.pause(WorkKind::Crl).await, None);
}

#[tokio::test]
async fn a_crl_waits_for_its_key_with_one_plan_until_there_is_more_to_tell() {
    let site = Site::new().await;
    let certificate = site.certificate().await;
    let issued = site.signer.asked();
    site.schedule().await;
    site.signer.suffers(&away(), 3);
    for pause in [1, 2, 2] {
        site.publish().await;
        let pause = Duration::from_secs(pause);
        assert_eq!(site.pause(WorkKind::Crl).await, Some(pause));
        assert_eq!(site.crl(&site.authority).await, None);
        site.advance(pause);
    }
    assert_eq!(site.count("SELECT COUNT(*) FROM crls").await, 1, "the same bytes each time");
    site.revoke(&certificate).await;
    site.signer.suffers(&SignError::PinRefused, 1);
    site.publish().await;
    assert_eq!(site.count("SELECT COUNT(*) FROM crls").await, 2);
    site.advance(Duration::from_secs(2));
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(2, &[&certificate.serial]));
    assert_eq!(site.signer.asked() - issued, 5);
    // Number 1 was never signed, and never will be.
    assert_eq!(site.count("SELECT number FROM crls WHERE signed_at IS NULL").await, 1);
}

#[tokio::test]
async fn a_plan_that_could_not_be_signed_for_an_hour_is_made_anew() {
    let site = Site::new().await;
    site.schedule().await;
    site.signer.suffers(&away(), 1);
    site.publish().await;
    site.advance(HOUR);
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(2, &[]));
}

#[tokio::test]
async fn a_wrong_signature_of_a_crl_is_never_stored() {
    let site = Site::new().await;
    site.schedule().await;
    site.signer.suffers(&wrong(), 1);
    site.signer.lies().await;
    for pause in [1, 2] {
        site.publish().await;
        assert_eq!(site.crl(&site.authority).await, None);
        site.advance(Duration::from_secs(pause));
    }
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(1, &[]));
}

#[tokio::test]
async fn of_two_workers_on_one_crl_only_the_holder_of_the_lease_publishes() {
    let site = Site::new().await;
    site.schedule().await;
    let lost = site.claim(WorkKind::Crl).await.unwrap();
    site.advance(LEASE);
    let held = site.claim(WorkKind::Crl).await.unwrap();
    publish_crl(&site.context, lost).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM crls").await, 0, "not even planned");
    assert_eq!(site.signer.asked(), 0);
    publish_crl(&site.context, held).await.unwrap();
    assert_eq!(site.crl(&site.authority).await, told(1, &[]));
}

/// RFC 5280 §3.3.
#[tokio::test]
async fn an_expired_certificate_leaves_the_list_after_one_that_was_issued_beyond_its_validity() {
    let site = Site::new().await;
    let expiring = site.revoked().await;
    site.publish().await;
    site.advance(DAY * 89);
    let later = site.revoked().await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(2, &[&expiring, &later]));
    site.advance(DAY * 2);
    site.schedule().await;
    assert_eq!(site.pause(WorkKind::Crl).await, None, "not due yet");
    site.advance(DAY * 2);
    site.schedule().await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(3, &[&expiring, &later]), "once more");
    site.advance(DAY * 4);
    site.schedule().await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(4, &[&later]));
}

#[tokio::test]
async fn one_that_is_revoked_after_its_end_is_told_of_once_all_the_same() {
    let site = Site::new().await;
    let expired = site.certificate().await;
    site.advance(DAY * 91);
    site.schedule().await;
    site.publish().await;
    site.advance(Duration::from_secs(1));
    site.revoke(&expired).await;
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(2, &[&expired.serial]));
}

#[tokio::test]
async fn cas_of_one_name_share_numbers_and_entries_each_with_its_key() {
    let site = Site::new().await;
    let (second, sick) = authority(site.store(), START).await;
    let second = Arc::new(second);
    assert_eq!(second.crl_issuer(), site.authority.crl_issuer());
    assert_ne!(second.signing_key(), site.authority.signing_key());
    let both = Authorities::new(vec![Arc::clone(&site.authority), Arc::clone(&second)]);
    site.context.authorities.store(Arc::new(both));
    let serial = site.revoked().await;
    // One key that is away does not hold up the other.
    sick.suffers(&away(), 1);
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(1, &[&serial]));
    assert_eq!(site.crl(&second).await, None);
    site.advance(Duration::from_secs(2));
    site.publish().await;
    site.advance(Duration::from_secs(2));
    site.publish().await;
    let number = |told: Option<Told>| told.map(|told| (told.number, told.serials));
    let (first, second) =
        (number(site.crl(&site.authority).await), number(site.crl(&second).await));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.0, second.0);
    assert_eq!(first.1, [serial.as_str()]);
    assert_eq!(second.1, [serial]);
}

#[tokio::test]
async fn a_ca_that_may_not_sign_crls_signs_none() {
    let site = Site::new().await;
    let (authority, _) = authority(site.store(), START).await;
    let without = Authority { crl_validity: None, ..authority };
    site.context.authorities.store(Arc::new(Authorities::new(vec![Arc::new(without)])));
    site.schedule().await;
    assert_eq!(site.pause(WorkKind::Crl).await, None);
    // A revocation is kept and waits for a CA that may.
    let serial = site.revoked().await;
    site.publish().await;
    assert_eq!(site.pause(WorkKind::Crl).await, Some(Duration::from_secs(30)));
    let with = Authorities::new(vec![Arc::clone(&site.authority)]);
    site.context.authorities.store(Arc::new(with));
    site.advance(Duration::from_secs(30));
    site.publish().await;
    assert_eq!(site.crl(&site.authority).await, told(1, &[&serial]));
}

#[tokio::test]
async fn a_client_s_revocation_is_kept_with_who_and_why() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
    let found = site.store().certificates(None, None, 1).await.unwrap().remove(0);
    let revoker = Revoker::Account(&site.account);
    let der = &found.certificate;
    revoke_cert(&site.context, &site.authority, revoker, der, Some(1)).await.unwrap();
    let again = revoke_cert(&site.context, &site.authority, revoker, der, None).await;
    assert_eq!(refusal(again).kind, ProblemType::AlreadyRevoked);
    let found = site.store().certificate_by_serial("web", &found.serial).await.unwrap().unwrap();
    let revocation = found.revocation.unwrap();
    assert_eq!(revocation.reason, CrlReason::KeyCompromise as i64);
    assert_eq!(revocation.revoked_at, site.context.clock.now());
    assert_eq!(revocation.revoked_by, format!("account {}", site.account.id));
}
