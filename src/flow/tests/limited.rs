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
