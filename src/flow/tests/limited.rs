//! An account has reached a limit.

use super::*;
use crate::config;

#[tokio::test]
async fn an_account_that_reached_a_limit_is_told_which_and_when_to_come_again() {
    let site = Site::new().await;
    let allow = |accounts: config::Limits| {
        let limits = Limits { hold: Duration::ZERO, accounts, ..Limits::default() };
        site.context.limits.store(Arc::new(limits));
    };
    let asked = |name: &str| AskedIdentifier {
        kind: "dns".to_owned(),
        value: name.to_owned(),
        ancestor_domain: None,
    };
    let place = async |name: &str| {
        let identifiers = vec![asked(name)];
        let request = NewOrderRequest { identifiers, ..NewOrderRequest::default() };
        new_order(&site.context, &site.authority, &site.account, request).await
    };
    site.ready(&["known.test"]).await;
    site.place(&["a.test"]).await;
    let unlimited = config::Limits::default;
    for (limits, key, wait_s) in [
        (
            config::Limits { orders_per_account_per_hour: 2, ..unlimited() },
            "orders_per_account_per_hour",
            3600,
        ),
        (
            config::Limits { pending_orders_per_account: 2, ..unlimited() },
            "pending_orders_per_account",
            600,
        ),
        (
            config::Limits { pending_authorizations_per_account: 1, ..unlimited() },
            "pending_authorizations_per_account",
            600,
        ),
    ] {
        allow(limits);
        let problem = refusal(place("b.test").await);
        assert_eq!((problem.kind, problem.status), (ProblemType::RateLimited, 429));
        assert!(problem.detail.contains(&format!("({key} in [limits]")), "{}", problem.detail);
        assert!(
            problem.detail.ends_with(&format!("try again in {wait_s} s")),
            "{}",
            problem.detail
        );
        assert_eq!(problem.retry_after_s, Some(wait_s));
    }
    // The last of them is for names that are yet to be proved: neither an order of a proved one nor
    // newAuthz goes round it.
    place("known.test").await.unwrap();
    let (context, authority) = (&site.context, &site.authority);
    let authorized = new_authz(context, authority, &site.account, asked("c.test"), false).await;
    assert_eq!(refusal(authorized).kind, ProblemType::RateLimited);
    allow(unlimited());
    place("b.test").await.unwrap();
}

#[tokio::test]
async fn whoever_was_refused_by_a_limit_is_looked_up_before_anything_is_written() {
    let site = Site::new().await;
    let accounts = config::Limits {
        pending_orders_per_account: 1,
        accounts_per_address_per_hour: 1,
        ..config::Limits::default()
    };
    let limits = Limits { hold: Duration::ZERO, accounts, ..Limits::default() };
    site.context.limits.store(Arc::new(limits));
    let (context, authority) = (&site.context, &site.authority);
    let order = site.place(&["a.test"]).await;
    let place = async || {
        let identifiers = vec![asked_name("b.test")];
        let request = NewOrderRequest { identifiers, ..NewOrderRequest::default() };
        new_order(context, authority, &site.account, request).await
    };
    let register = async || {
        let key = Key::new(Algorithm::Es256);
        let network = Some("192.0.2.1/32".parse().unwrap());
        new_account(context, authority, NewAccount { network, ..asked(&key) }).await
    };
    register().await.unwrap();
    assert_eq!(refusal(place().await).kind, ProblemType::RateLimited);
    assert_eq!(refusal(register().await).kind, ProblemType::RateLimited);
    let before = site.transactions();
    for _ in 0..5 {
        // So that it is longer ago than is remembered, but for those between.
        site.advance(Duration::from_secs(20));
        assert_eq!(refusal(place().await).kind, ProblemType::RateLimited);
        assert_eq!(refusal(register().await).kind, ProblemType::RateLimited);
    }
    assert_eq!(site.transactions(), before);
    // As soon as the counts allow it, and not only when the refusals are forgotten.
    let pending = order.authorizations[0].clone();
    deactivate_authorization(context, pending).await.unwrap();
    place().await.unwrap();
    site.advance(Duration::from_secs(3490));
    assert_eq!(refusal(register().await).kind, ProblemType::RateLimited);
    site.advance(Duration::from_secs(11));
    register().await.unwrap();
}
