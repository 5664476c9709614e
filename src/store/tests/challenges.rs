//! Authorizations and challenges.

use harness::Database;

use super::fixture::{
    ACCOUNT, ACCOUNT_URL, CA, LONG, NOW, ORDER, after, begin, claim, claim_one, conclude, entry,
    failed, lease_validation, number, open, problem, proved, with_order,
};
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::challenge::{ChallengeResult, ChallengeStatus, ChallengeType, Retry};
use crate::acme::order::OrderStatus;
use crate::store::{Begin, Conclusion, Store, WorkKind};

const WORK: &str = "SELECT COUNT(*) FROM work";
const HTTP: &str = "order-0-http-01";
const DNS: &str = "order-0-dns-01";
const THUMBPRINT: &str = "thumbprint of account";

pub(super) async fn a_challenge_is_begun_once(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    assert!(store.begin_challenge(begin(HTTP, after(1))).await.unwrap());
    assert!(!store.begin_challenge(begin(HTTP, after(2))).await.unwrap());
    assert!(!store.begin_challenge(begin("nothing", NOW)).await.unwrap());
    assert_eq!(number(&store, WORK).await, 1);
    let authorization = store.authorization_of_challenge(CA, DNS).await.unwrap().unwrap();
    assert_eq!(authorization.id, "order-0");
    let begun: Vec<_> =
        authorization.challenges.iter().map(|one| (one.kind, one.begun_at)).collect();
    assert_eq!(
        begun,
        [
            (ChallengeType::Dns01, None),
            (ChallengeType::Http01, Some(after(1))),
            (ChallengeType::TlsAlpn01, None),
        ]
    );
}

pub(super) async fn who_waits_for_a_proof_is_told_what_the_authorization_says(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    let told_of = async |challenge, result| {
        let waiter = store.waiter(WorkKind::Validation, challenge);
        conclude(&store, challenge, result).await;
        waiter.wait_for_ours(LONG).await.unwrap()
    };
    let read = async || store.authorization(CA, "order-0").await.unwrap().unwrap();
    let before = read().await;
    let at = told_of(HTTP, proved()).await.unwrap();
    let mut after = read().await;
    for challenge in &mut after.challenges {
        // The account's own word, which nobody is told.
        challenge.account_url = None;
    }
    assert_eq!(before.proved_by(HTTP, at), after);
    assert_eq!(told_of("order-1-http-01", failed()).await, None);
}

pub(super) async fn a_response_is_kept_until_its_challenge_is_concluded(database: &Database) {
    let kept = "SELECT COUNT(*) FROM challenges WHERE response IS NOT NULL";
    let store = with_order(database, &["a.test", "b.test"]).await;
    for (challenge, conclusion) in [(HTTP, proved()), ("order-1-http-01", failed())] {
        let send = |object: &str| {
            let response = Some(object.as_bytes().to_vec());
            let (store, begin) = (store.clone(), Begin { response, ..begin(challenge, NOW) });
            async move { store.begin_challenge(begin).await.unwrap() }
        };
        assert!(send("object").await);
        assert!(!send("another").await, "the first one stands");
        let work = store.to_validate(challenge).await.unwrap().unwrap();
        assert_eq!(work.response.as_deref(), Some(&b"object"[..]));
        let lease = claim_one(&store, WorkKind::Validation, NOW).await;
        let conclusion = Conclusion { attested_key: Some("key".to_owned()), ..conclusion };
        assert!(store.conclude_challenge(&lease, &conclusion, &entry()).await.unwrap());
        assert_eq!(number(&store, kept).await, 0);
        let found = store.authorization_of_challenge(CA, challenge).await.unwrap().unwrap();
        let attested = |found: &Authorization| {
            found.concluding_challenge().and_then(|one| one.attested_key.clone())
        };
        assert_eq!(attested(&found).as_deref(), Some("key"));
        let order = store.order(CA, ORDER).await.unwrap().unwrap();
        let in_order = order.authorizations.iter().find(|one| one.id == found.id).unwrap();
        assert_eq!(attested(in_order).as_deref(), Some("key"));
    }
}

pub(super) async fn a_challenge_of_a_decided_or_deactivated_authorization_is_not_begun(
    database: &Database,
) {
    let store = with_order(database, &["a.test", "b.test", "c.test"]).await;
    conclude(&store, "order-0-http-01", proved()).await;
    conclude(&store, "order-1-http-01", failed()).await;
    store.deactivate_authorization("order-2", NOW, &entry()).await.unwrap();
    for challenge in ["order-0-dns-01", "order-1-dns-01", "order-2-dns-01", "order-0-http-01"] {
        assert!(!store.begin_challenge(begin(challenge, NOW)).await.unwrap(), "{challenge}");
    }
    assert_eq!(number(&store, WORK).await, 0);
}

pub(super) async fn of_concurrent_beginnings_one_wins_and_one_piece_of_work_exists(
    database: &Database,
) {
    let stores = [with_order(database, &["a.test"]).await, open(database).await];
    let beginnings: Vec<_> = (0..16)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move { store.begin_challenge(begin(HTTP, NOW)).await.unwrap() })
        })
        .collect();
    let mut begun = 0;
    for beginning in beginnings {
        begun += usize::from(beginning.await.unwrap());
    }
    assert_eq!(begun, 1);
    assert_eq!(number(&stores[0], WORK).await, 1);
}

/// By two instances that looked for one proof, and a third that only notes that it is to be looked for.
pub(super) async fn of_concurrent_beginnings_that_are_concluded_one_wins(database: &Database) {
    let names: Vec<_> = (0..10).map(|index| format!("n{index}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let store = with_order(database, &names).await;
    let (other, third) = (open(database).await, open(database).await);
    for index in 0..names.len() {
        let challenge = format!("order-{index}-http-01");
        let (with_proof, with_failure, alone) = tokio::join!(
            begin_and_conclude(&store, &challenge, THUMBPRINT, proved()),
            begin_and_conclude(&other, &challenge, THUMBPRINT, failed()),
            third.begin_challenge(begin(&challenge, NOW)),
        );
        let wins = [with_proof, with_failure, alone.unwrap()];
        assert_eq!(wins.iter().filter(|win| **win).count(), 1, "{wins:?}");
        let found = store.authorization(CA, &format!("order-{index}")).await.unwrap().unwrap();
        let expected = match wins {
            [true, ..] => "valid",
            [_, true, _] => "invalid",
            _ => "pending",
        };
        assert_eq!(found.status(NOW).as_str(), expected);
        let decided_by = (expected != "pending").then_some(challenge);
        assert_eq!(found.concluded_by, decided_by);
    }
}

pub(super) async fn what_cannot_begin_is_not_concluded(database: &Database) {
    let store = with_order(database, &["a.test", "b.test", "c.test", "d.test", "e.test"]).await;
    assert!(store.begin_challenge(begin("order-0-http-01", NOW)).await.unwrap());
    conclude(&store, "order-1-dns-01", failed()).await;
    store.deactivate_authorization("order-2", NOW, &entry()).await.unwrap();
    for index in 0..3 {
        let challenge = format!("order-{index}-http-01");
        for conclusion in [proved(), failed()] {
            let begun = begin_and_conclude(&store, &challenge, THUMBPRINT, conclusion).await;
            assert!(!begun, "{challenge}");
        }
    }
    let last = "order-3-http-01";
    let before = number(&store, "SELECT COUNT(*) FROM audit_pending").await;
    assert!(!begin_and_conclude(&store, last, "of a key before", proved()).await);
    let ended =
        "SELECT COUNT(*) FROM challenges WHERE validated_at IS NOT NULL OR error IS NOT NULL";
    assert_eq!(number(&store, ended).await, 1, "the failure of order-1");
    assert!(begin_and_conclude(&store, last, THUMBPRINT, proved()).await);
    let as_begun = "SELECT COUNT(*) FROM challenges WHERE id = 'order-3-http-01' AND validated_at > 0 \
                    AND begun_at > 0 AND account_url LIKE 'https:%' \
                    AND key_thumbprint = 'thumbprint of account'";
    assert_eq!(number(&store, as_begun).await, 1);
    let entries = "SELECT COUNT(*) FROM audit_pending";
    assert_eq!(number(&store, entries).await, before + 1, "of what was written, one");
    // A proof that comes after the authorization has expired.
    let late = Conclusion { result: ChallengeResult::Proved { at: after(3600) }, ..proved() };
    assert!(!begin_and_conclude(&store, "order-4-http-01", THUMBPRINT, late).await);
    store.deactivate_account(ACCOUNT, NOW, &entry()).await.unwrap();
    assert!(!begin_and_conclude(&store, "order-4-http-01", THUMBPRINT, proved()).await);
}

async fn begin_and_conclude(
    store: &Store,
    challenge: &str,
    key_thumbprint: &str,
    conclusion: Conclusion,
) -> bool {
    let begin = begin(challenge, NOW);
    store.begin_and_conclude_challenge(begin, key_thumbprint, &conclusion, &entry()).await.unwrap()
}

pub(super) async fn a_worker_finds_what_it_validates(database: &Database) {
    let store = with_order(database, &["*.a.test"]).await;
    let found = store.to_validate(DNS).await.unwrap().unwrap();
    assert_eq!(found.authorization.identifier.to_string(), "*.a.test");
    assert_eq!(found.authorization.account_id, ACCOUNT);
    assert_eq!(found.challenge.token, "token of order-0-dns-01");
    assert_eq!(found.account_thumbprint, "thumbprint of account");
    assert_eq!(found.authorization.status(NOW).as_str(), "pending");
    store.deactivate_account(ACCOUNT, NOW, &entry()).await.unwrap();
    let found = store.to_validate(DNS).await.unwrap().unwrap();
    assert_eq!(found.authorization.status(NOW).as_str(), "deactivated");
    assert!(store.to_validate("nothing").await.unwrap().is_none());
}

pub(super) async fn a_conclusion_is_visible_to_another_store_at_once(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    let other = open(database).await;
    assert_eq!(other.order(CA, ORDER).await.unwrap().unwrap().status(NOW), OrderStatus::Pending);
    conclude(&store, HTTP, proved()).await;
    let authorization = other.authorization(CA, "order-0").await.unwrap().unwrap();
    assert_eq!(authorization.status(NOW), AuthorizationStatus::Valid);
    assert_eq!(authorization.concluded_by.as_deref(), Some(HTTP));
    let shown = authorization.visible_challenges();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].status(), ChallengeStatus::Valid { at: NOW });
    conclude(&store, "order-1-dns-01", proved()).await;
    assert_eq!(other.order(CA, ORDER).await.unwrap().unwrap().status(NOW), OrderStatus::Ready);
}

pub(super) async fn of_two_challenges_that_end_together_exactly_one_decides(database: &Database) {
    let names: Vec<_> = (0..10).map(|index| format!("n{index}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let store = with_order(database, &names).await;
    let other = open(database).await;
    for index in 0..names.len() {
        let http = lease_validation(&store, &format!("order-{index}-http-01")).await;
        let dns = lease_validation(&other, &format!("order-{index}-dns-01")).await;
        let (first, second) = tokio::join!(
            tokio::spawn({
                let store = store.clone();
                async move { store.conclude_challenge(&http, &proved(), &entry()).await.unwrap() }
            }),
            tokio::spawn({
                let other = other.clone();
                async move { other.conclude_challenge(&dns, &failed(), &entry()).await.unwrap() }
            }),
        );
        let (proved_first, failed_first) = (first.unwrap(), second.unwrap());
        assert_ne!(proved_first, failed_first);
        let id = format!("order-{index}");
        let authorization = store.authorization(CA, &id).await.unwrap().unwrap();
        let expected = if proved_first { "valid" } else { "invalid" };
        assert_eq!(authorization.status(NOW).as_str(), expected);
        let results = authorization.challenges.iter().filter(|one| one.result.is_some());
        assert_eq!(results.count(), 1, "only the one that decided has a result");
        let winner = if proved_first { "http-01" } else { "dns-01" };
        assert_eq!(authorization.concluded_by, Some(format!("order-{index}-{winner}")));
    }
    // The losers' work is theirs to discard.
    assert_eq!(number(&store, WORK).await, 10);
}

pub(super) async fn a_lost_lease_concludes_nothing(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let lost = lease_validation(&store, HTTP).await;
    let held = claim_one(&store, WorkKind::Validation, after(20)).await;
    assert!(!store.conclude_challenge(&lost, &failed(), &entry()).await.unwrap());
    let authorization = store.authorization(CA, "order-0").await.unwrap().unwrap();
    assert_eq!(authorization.concluded_by, None);
    assert!(authorization.challenges.iter().all(|challenge| challenge.result.is_none()));
    let seen = Conclusion { evidence: Some("seen".to_owned()), ..proved() };
    assert!(store.conclude_challenge(&held, &seen, &entry()).await.unwrap());
    assert!(!store.conclude_challenge(&held, &failed(), &entry()).await.unwrap());
    assert!(!store.conclude_challenge(&lost, &failed(), &entry()).await.unwrap());
    let authorization = store.authorization(CA, "order-0").await.unwrap().unwrap();
    assert_eq!(authorization.status(NOW), AuthorizationStatus::Valid);
    let kept = "SELECT COUNT(*) FROM challenges WHERE evidence = 'seen'";
    assert_eq!(number(&store, kept).await, 1);
    assert_eq!(number(&store, WORK).await, 0);
}

pub(super) async fn a_deactivated_authorization_is_not_concluded(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let lease = lease_validation(&store, HTTP).await;
    store.deactivate_authorization("order-0", NOW, &entry()).await.unwrap();
    assert!(!store.conclude_challenge(&lease, &proved(), &entry()).await.unwrap());
    let authorization = store.authorization(CA, "order-0").await.unwrap().unwrap();
    assert_eq!(authorization.status(NOW), AuthorizationStatus::Deactivated);
    assert_eq!(authorization.concluded_by, None);
    // Nothing at all was written: the work is still on the list.
    assert_eq!(claim(&store, WorkKind::Validation, after(20), 10).await.len(), 1);
}

pub(super) async fn an_authorization_is_deactivated_once(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    store.deactivate_authorization("order-0", after(1), &entry()).await.unwrap();
    store.deactivate_authorization("order-0", after(2), &entry()).await.unwrap();
    let deactivated = store.authorization(CA, "order-0").await.unwrap().unwrap();
    assert_eq!(deactivated.deactivated_at, Some(after(1)));
    let other = store.authorization(CA, "order-1").await.unwrap().unwrap();
    assert_eq!(other.deactivated_at, None);
}

pub(super) async fn a_retry_is_noted_and_due_in_one_step(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let lease = lease_validation(&store, HTTP).await;
    store.retry_validation(lease, &problem(), after(5)).await.unwrap();
    let challenge = store.to_validate(HTTP).await.unwrap().unwrap().challenge;
    assert_eq!(challenge.account_url.as_deref(), Some(ACCOUNT_URL));
    assert_eq!(challenge.retry, Some(Retry { problem: problem(), at: after(5) }));
    assert_eq!(challenge.status(), ChallengeStatus::Processing);
    assert!(claim(&store, WorkKind::Validation, after(4), 10).await.is_empty());
    let lease = claim_one(&store, WorkKind::Validation, after(5)).await;
    assert_eq!(lease.attempt(), 2);
    assert!(store.conclude_challenge(&lease, &proved(), &entry()).await.unwrap());
    let found = store.authorization(CA, "order-0").await.unwrap().unwrap();
    let challenge = found.concluding_challenge().unwrap();
    assert_eq!(challenge.status(), ChallengeStatus::Valid { at: NOW });
}

pub(super) async fn a_lost_lease_notes_no_retry(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let lost = lease_validation(&store, HTTP).await;
    let held = claim_one(&store, WorkKind::Validation, after(20)).await;
    store.retry_validation(lost, &problem(), after(21)).await.unwrap();
    let found = store.authorization(CA, "order-0").await.unwrap().unwrap();
    assert!(found.challenges.iter().all(|challenge| challenge.retry.is_none()));
    assert!(claim(&store, WorkKind::Validation, after(21), 10).await.is_empty());
    assert!(store.conclude_challenge(&held, &proved(), &entry()).await.unwrap());
}
