//! What was planned is signed, once, or not at all.

use super::*;

#[tokio::test]
async fn an_issuance_waits_for_its_signer_and_issues_exactly_one_certificate() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 3);
    site.signer.suffers(&SignError::Deadline { deadline: LEASE }, 3);
    site.signer.suffers(&SignError::PinRefused, 1);
    let (order, _) = site.planned().await;
    for pause in [1, 2, 2, 2, 2, 2, 2] {
        site.issue().await;
        let pause = Duration::from_secs(pause);
        assert_eq!(site.pause(WorkKind::Issuance).await, Some(pause));
        assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
        assert!(site.claim(WorkKind::Issuance).await.is_none());
        site.advance(pause);
    }
    assert_eq!(site.signed().await, 0);
    site.issue().await;
    let OrderStatus::Valid { certificate_id } = site.status(&order.id).await else {
        panic!("not valid")
    };
    assert_eq!(site.signer.asked(), 8);
    assert_eq!(site.signed().await, 1);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
    let issued = site.store().certificate("web", &certificate_id).await.unwrap().unwrap();
    assert_eq!(issued.account_id, site.account.id);
    assert_eq!(issued.chain, site.authority.chain.download_chain());
    let certificate = openssl::x509::X509::from_der(&issued.certificate).unwrap();
    let root = openssl::x509::X509::from_pem(issued.chain.as_bytes()).unwrap();
    assert!(certificate.verify(&root.public_key().unwrap()).unwrap());
}

#[tokio::test]
async fn of_two_workers_on_one_plan_only_the_holder_of_the_lease_stores_a_certificate() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    let lost = site.claim(WorkKind::Issuance).await.unwrap();
    site.advance(LEASE);
    let held = site.claim(WorkKind::Issuance).await.unwrap();
    issue(&site.context, lost).await.unwrap();
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    assert_eq!(site.signed().await, 0);
    issue(&site.context, held).await.unwrap();
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
    assert_eq!(site.signed().await, 1);
}

#[tokio::test]
async fn a_wrong_signature_is_never_stored() {
    let site = Site::new().await;
    site.signer.suffers(&wrong(), 2);
    site.signer.lies().await;
    site.signer.lies().await;
    let (order, _) = site.planned().await;
    for pause in [1, 2, 2, 2] {
        site.issue().await;
        assert_eq!(site.signed().await, 0);
        assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
        assert_eq!(site.pause(WorkKind::Issuance).await, Some(Duration::from_secs(pause)));
        site.advance(Duration::from_secs(pause));
    }
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
}

#[tokio::test]
async fn a_plan_older_than_a_day_is_given_up() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 1);
    let (order, csr) = site.planned().await;
    site.advance(DAY);
    site.issue().await;
    assert_eq!(site.signer.asked(), 1, "a day is not too long");
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    assert_eq!(site.signer.asked(), 1);
    let OrderStatus::Invalid { problem } = site.status(&order.id).await else {
        panic!("not invalid")
    };
    assert_eq!(problem.kind, ProblemType::ServerInternal);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
    assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::OrderNotReady);
}

#[tokio::test]
async fn a_plan_that_was_tampered_with_is_never_signed() {
    let site = Site::new().await;
    for part in 0..8 {
        let (order, _) = site.planned().await;
        let planned = site.store().planned_certificate(&order.id).await.unwrap().unwrap();
        let mut tbs = planned.tbs;
        // Everywhere: in the serial, the names, the dates, the key, the extensions.
        let place = part * (tbs.len() - 1) / 7;
        tbs[place] ^= 1;
        let mut connection = SqliteConnection::connect(&site.database.url()).await.unwrap();
        let update = "UPDATE certificates SET tbs = $2 WHERE order_id = $1";
        let update = sqlx::query(update).bind(&order.id).bind(tbs);
        assert_eq!(update.execute(&mut connection).await.unwrap().rows_affected(), 1);
        connection.close().await.unwrap();
        site.issue().await;
        assert_eq!(site.status(&order.id).await.as_str(), "invalid", "byte {place}");
    }
    assert_eq!((site.signer.asked(), site.signed().await), (0, 0));
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}

#[tokio::test]
async fn a_plan_that_differs_in_one_bit_does_not_pass_the_last_look() {
    let site = Site::new().await;
    let (order, csr) = site.planned().await;
    let planned = site.store().planned_certificate(&order.id).await.unwrap().unwrap();
    let request = CertificateRequest::from_der(&csr).unwrap();
    let passes = |tbs: &[u8]| {
        let wanted = Wanted {
            identifiers: &planned.identifiers,
            public_key: request.public_key(),
            profile: &site.authority.profile,
            dates: RequestedDates::default(),
        };
        site.authority.lint(tbs, &planned.serial, &wanted, planned.planned_at, START).is_ok()
    };
    assert!(passes(&planned.tbs));
    for bit in 0..planned.tbs.len() * 8 {
        let mut tbs = planned.tbs.clone();
        tbs[bit / 8] ^= 1 << (bit % 8);
        assert!(!passes(&tbs), "bit {} of byte {}", bit % 8, bit / 8);
    }
}

#[tokio::test]
async fn a_plan_is_signed_as_it_was_made_after_the_profile_has_changed() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    let planned = site.store().planned_certificate(&order.id).await.unwrap().unwrap();
    let old = &site.authority;
    let changed = Authority {
        id: old.id.clone(),
        name: old.name.clone(),
        chain: old.chain.clone(),
        issuer_id: old.issuer_id.clone(),
        alternates: Vec::new(),
        signer: Arc::clone(&old.signer),
        crl_validity: None,
        profile: Profile::tls_server(3600),
        policy: Policy::default(),
        profiles: Vec::new(),
        subdomain_authorizations: false,
        meta: Meta::default(),
        proof: Proof::default(),
    };
    site.context.authorities.store(Arc::new(Authorities::new(vec![Arc::new(changed)])));
    site.issue().await;
    let OrderStatus::Valid { certificate_id } = site.status(&order.id).await else {
        panic!("not valid")
    };
    let issued = site.store().certificate("web", &certificate_id).await.unwrap().unwrap();
    let place = issued.certificate.windows(planned.tbs.len()).position(|part| part == planned.tbs);
    assert!(place.is_some(), "the planned bytes are in the certificate");
}

#[tokio::test]
async fn a_plan_whose_last_second_has_passed_is_not_signed() {
    let site = Site::new().await;
    site.ready(&["a.test"]).await;
    let not_after = Some(START.plus(Duration::from_secs(60)));
    let identifiers = vec![AskedIdentifier {
        kind: "dns".to_owned(),
        value: "a.test".to_owned(),
        ancestor_domain: None,
    }];
    let request = NewOrderRequest { identifiers, not_after, ..NewOrderRequest::default() };
    let order = new_order(&site.context, &site.authority, &site.account, request).await.unwrap();
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    site.advance(Duration::from_secs(61));
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "invalid");
    assert_eq!((site.signer.asked(), site.signed().await), (0, 0));
}

#[tokio::test]
async fn an_issuance_waits_for_a_ca_that_is_not_configured() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    let authorities = site.context.authorities.swap(Arc::default());
    site.issue().await;
    assert_eq!(site.pause(WorkKind::Issuance).await, Some(Duration::from_secs(1)));
    site.context.authorities.store(authorities);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
}

#[tokio::test]
async fn an_own_certificate_is_planned_before_it_is_signed() {
    let site = Site::new().await;
    let names = ["ca.test".to_owned()];
    site.signer.suffers(&away(), 1);
    let error = own_certificate(&site.context, &site.authority, &names, &[]).await.err().unwrap();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
    assert_eq!(site.signed().await, 0);
    let own = own_certificate(&site.context, &site.authority, &names, &[]).await.unwrap();
    assert!(own.chain_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(site.signed().await, 1);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}
