//! A CSR comes, or comes again.

use futures_util::FutureExt as _;
use futures_util::future::join;

use super::*;
use crate::flow::{issue_unplanned, validate_unbegun};

#[tokio::test]
async fn a_csr_that_is_sent_again_while_the_signer_is_away_plans_nothing_twice() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 1);
    let (order, csr) = site.planned().await;
    site.issue().await;
    for _ in 0..3 {
        assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    }
    let other = refusal(site.finalize(&order, &Csr::new(&["a.test"]).der()).await);
    assert_eq!(other.kind, ProblemType::OrderNotReady);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 1);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    assert_eq!(site.finalize(&order, &csr).await.unwrap().as_str(), "valid");
    assert_eq!(site.signed().await, 1);
}

#[tokio::test]
async fn of_csrs_that_come_together_one_is_planned() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let csrs = [Csr::new(&["a.test"]).der(), Csr::new(&["a.test"]).der()];
    let (one, same, other) = tokio::join!(
        site.finalize(&order, &csrs[0]),
        site.finalize(&order, &csrs[0]),
        site.finalize(&order, &csrs[1]),
    );
    let planned = site.store().order_csr(&order.id).await.unwrap().unwrap();
    let (won, lost) = if planned == csrs[0] {
        (vec![one, same], vec![other])
    } else {
        (vec![other], vec![one, same])
    };
    for result in won {
        assert_eq!(result.unwrap(), OrderStatus::Processing);
    }
    for result in lost {
        assert_eq!(refusal(result).kind, ProblemType::OrderNotReady);
    }
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
}

#[tokio::test]
async fn an_order_whose_account_was_deactivated_meanwhile_is_not_planned() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let gone = deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(gone.status().as_str(), "deactivated");
    let problem = refusal(site.finalize(&order, &Csr::new(&["a.test"]).der()).await);
    assert_eq!(problem.kind, ProblemType::OrderNotReady);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 0);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
    let again = refusal(new_account(&site.context, &site.authority, asked(&site.key)).await);
    assert_eq!(again.kind, ProblemType::Unauthorized);
}

#[tokio::test]
async fn an_order_whose_authorization_was_deactivated_is_not_planned() {
    let site = Site::new().await;
    let order = site.ready(&["a.test", "b.test"]).await;
    let one = site.order(&order.id).await.authorizations.remove(1);
    deactivate_authorization(&site.context, one).await.unwrap();
    let problem = refusal(site.finalize(&order, &Csr::new(&["a.test", "b.test"]).der()).await);
    assert_eq!(problem.kind, ProblemType::OrderNotReady);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 0);
}

#[tokio::test]
async fn a_csr_that_does_not_fit_the_order_is_refused_and_may_be_corrected() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let account_key = Csr { key: site.key.private.clone(), ..Csr::new(&["a.test"]) };
    let csrs = [
        Csr::new(&["b.test"]).der(),
        Csr::new(&["a.test", "b.test"]).der(),
        Csr::new(&[]).der(),
        account_key.der(),
        b"nonsense".to_vec(),
    ];
    for csr in csrs {
        assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::BadCsr);
    }
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
}

#[tokio::test]
async fn an_order_that_is_not_ready_or_not_ones_own_is_not_finalized() {
    let site = Site::new().await;
    let order = site.place(&["a.test"]).await;
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::OrderNotReady);
    let key = Key::new(Algorithm::Es256);
    let (other, _) = new_account(&site.context, &site.authority, asked(&key)).await.unwrap();
    let order = site.ready(&["a.test"]).await;
    let theirs = finalize(&site.context, &site.authority, &other, &order.id, &csr).await;
    assert_eq!(refusal(theirs).status, 404);
    site.advance(DAY * 8);
    assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::OrderNotReady);
}

#[tokio::test]
async fn what_a_client_asked_for_that_hung_up_is_done_all_the_same() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let unproved = site.place(&["b.localhost"]).await.authorizations.remove(0);
    let mut issuances = receive(&site.context.at_once.issuances);
    let mut validations = receive(&site.context.at_once.validations);
    let csr = Csr::new(&["a.test"]).der();
    // Each is polled once, until it waits for what it handed over, and dropped.
    assert!(site.finalize(&order, &csr).now_or_never().is_none());
    let challenge = &unproved.challenges[0].id;
    assert!(site.begin(&unproved, challenge).now_or_never().is_none());
    issue_unplanned(&site.context, issuances.recv().await.unwrap().known).await.unwrap();
    assert!(matches!(site.status(&order.id).await, OrderStatus::Valid { .. }));
    validate_unbegun(&site.context, validations.recv().await.unwrap().known).await.unwrap();
    let work = site.store().to_validate(challenge).await.unwrap().unwrap();
    assert_eq!(work.challenge.begun_at, Some(START));
}

/// Once it is written that the certificate is to be.
#[tokio::test]
async fn a_client_is_answered_while_its_certificate_takes_its_time() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let limits = &site.context.limits;
    limits.store(Arc::new(Limits { soon: Duration::ZERO, ..(**limits.load()).clone() }));
    let mut issuances = receive(&site.context.at_once.issuances);
    let csr = Csr::new(&["a.test"]).der();
    let held = site.signer.hold();
    let works = async {
        let handed = issuances.recv().await.unwrap();
        issue_unplanned(&site.context, handed.known).await.unwrap();
    };
    let client = async {
        assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
        drop(held);
    };
    join(works, client).await;
    assert!(matches!(site.status(&order.id).await, OrderStatus::Valid { .. }));
}

#[tokio::test]
async fn an_order_whose_workers_have_just_stopped_is_planned_on_the_list() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    drop(receive(&site.context.at_once.issuances));
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    site.issue().await;
    assert!(matches!(site.status(&order.id).await, OrderStatus::Valid { .. }));
}
