//! Orders (RFC 8555 §7.1.3).

use super::authorization::{Authorization, AuthorizationStatus};
use super::identifier::Identifier;
use super::problem::{Problem, ProblemType};
use crate::clock::Timestamp;

/// Why an order of a deactivated account is invalid.
const ACCOUNT_DEACTIVATED: &str = "the account was deactivated before the certificate was issued";

/// What is known of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) ca: String,
    pub(crate) account_id: String,
    pub(crate) expires_at: Timestamp,
    /// Which dates the client asked for.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
    /// The name of the profile (draft-ietf-acme-profiles §4), where its CA had any.
    pub(crate) profile: Option<String>,
    /// Which certificate the client means to replace (RFC 9773 §5).
    pub(crate) replaces: Option<String>,
    /// When a CSR was accepted; written once, together with the plan of the certificate.
    pub(crate) processing_since: Option<Timestamp>,
    /// The certificate's id, once it is issued.
    pub(crate) certificate_id: Option<String>,
    /// Why the certificate will never be issued.
    pub(crate) error: Option<Problem>,
    /// When its account was deactivated: nothing is issued from then on (RFC 8555 §7.3.6).
    pub(crate) account_deactivated_at: Option<Timestamp>,
    /// What the certificate is to name.
    pub(crate) identifiers: Vec<Identifier>,
    /// At the place of each identifier the one that stands for it, which need not be its own (RFC
    /// 9444); each with at least the challenge that decided it.
    pub(crate) authorizations: Vec<Authorization>,
}

/// The status of an order (RFC 8555 §7.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderStatus {
    Pending,
    Ready,
    Processing,
    Valid { certificate_id: String },
    Invalid { problem: Problem },
}

impl OrderStatus {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid { .. } => "valid",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl Order {
    /// The first of these that is known decides: a certificate, an error, the end of its account, a CSR
    /// in progress, the expiry, an authorization that can no longer become valid. So a valid order stays valid when
    /// its authorizations age, and `ready` shows at the same instant as the last `valid`.
    pub(crate) fn status(&self, now: Timestamp) -> OrderStatus {
        if let Some(certificate_id) = &self.certificate_id {
            return OrderStatus::Valid { certificate_id: certificate_id.clone() };
        }
        if let Some(problem) = &self.error {
            return OrderStatus::Invalid { problem: problem.clone() };
        }
        if self.account_deactivated_at.is_some() {
            let problem = Problem::new(ProblemType::Unauthorized, ACCOUNT_DEACTIVATED);
            return OrderStatus::Invalid { problem };
        }
        if self.processing_since.is_some() {
            return OrderStatus::Processing;
        }
        if let Some(problem) = self.lost_authorizations(now) {
            return OrderStatus::Invalid { problem };
        }
        if self.expires_at <= now {
            let detail = format!("the order expired at {} without a CSR", self.expires_at);
            return OrderStatus::Invalid { problem: Problem::malformed(detail) };
        }
        let all_valid = self
            .authorizations
            .iter()
            .all(|authorization| authorization.status(now) == AuthorizationStatus::Valid);
        if all_valid { OrderStatus::Ready } else { OrderStatus::Pending }
    }

    /// What became of authorizations that can no longer become valid.
    fn lost_authorizations(&self, now: Timestamp) -> Option<Problem> {
        let pairs = self.identifiers.iter().zip(&self.authorizations);
        let subproblems = pairs.filter_map(|(identifier, authorization)| {
            let unauthorized = |detail: &str| Problem::new(ProblemType::Unauthorized, detail);
            let problem = match authorization.status(now) {
                AuthorizationStatus::Pending | AuthorizationStatus::Valid => return None,
                AuthorizationStatus::Invalid { problem: Some(problem) } => problem.clone(),
                AuthorizationStatus::Invalid { problem: None } => {
                    unauthorized("no challenge was answered before the authorization expired")
                }
                AuthorizationStatus::Deactivated => {
                    unauthorized("the authorization was deactivated")
                }
                AuthorizationStatus::Expired => unauthorized("the authorization has expired"),
            };
            Some(problem.about(identifier))
        });
        Problem::from_subproblems(subproblems.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::challenge::{Challenge, ChallengeResult, ChallengeType};
    use proptest::prelude::*;
    use std::time::Duration;

    const START: Timestamp = Timestamp::from_unix_s(1_000);

    fn authorization(id: &str) -> Authorization {
        Authorization {
            id: id.to_owned(),
            ca: "ca".to_owned(),
            account_id: "account".to_owned(),
            identifier: Identifier::dns(&format!("{id}.test")).unwrap(),
            subdomains: false,
            expires_at: START.plus(Duration::from_secs(100)),
            deactivated_at: None,
            concluded_by: None,
            challenges: vec![Challenge {
                id: format!("{id}-challenge"),
                kind: ChallengeType::Http01,
                token: "token".to_owned(),
                begun_at: None,
                account_url: None,
                retry: None,
                attested_key: None,
                result: None,
            }],
        }
    }

    fn order() -> Order {
        Order {
            id: "order".to_owned(),
            ca: "ca".to_owned(),
            account_id: "account".to_owned(),
            expires_at: START.plus(Duration::from_secs(100)),
            not_before: None,
            not_after: None,
            profile: None,
            replaces: None,
            processing_since: None,
            certificate_id: None,
            error: None,
            account_deactivated_at: None,
            identifiers: ["a.test", "b.test"].map(|name| Identifier::dns(name).unwrap()).into(),
            authorizations: vec![authorization("a"), authorization("b")],
        }
    }

    fn conclude(order: &mut Order, index: usize, result: ChallengeResult) {
        let authorization = &mut order.authorizations[index];
        if authorization.concluded_by.is_none() {
            let challenge = &mut authorization.challenges[0];
            challenge.begun_at = Some(START);
            challenge.result = Some(result);
            authorization.concluded_by = Some(challenge.id.clone());
        }
    }

    fn proved() -> ChallengeResult {
        ChallengeResult::Proved { at: START }
    }

    fn failed() -> ChallengeResult {
        ChallengeResult::Failed { problem: Problem::new(ProblemType::Dns, "NXDOMAIN") }
    }

    #[test]
    fn an_order_is_ready_with_its_last_valid_authorization_and_not_before() {
        let mut order = order();
        assert_eq!(order.status(START), OrderStatus::Pending);
        conclude(&mut order, 0, proved());
        assert_eq!(order.status(START), OrderStatus::Pending);
        conclude(&mut order, 1, proved());
        assert_eq!(order.status(START), OrderStatus::Ready);
    }

    #[test]
    fn one_failed_challenge_makes_the_order_invalid_and_says_which_name() {
        let mut order = order();
        conclude(&mut order, 1, failed());
        let OrderStatus::Invalid { problem } = order.status(START) else { panic!("not invalid") };
        assert_eq!(problem.kind, ProblemType::Dns);
        assert_eq!(problem.subproblems[0].identifier.value, "b.test");
    }

    #[test]
    fn a_valid_order_stays_valid_when_it_and_its_authorizations_expire() {
        let mut order = order();
        conclude(&mut order, 0, proved());
        conclude(&mut order, 1, proved());
        order.processing_since = Some(START);
        let later = START.plus(Duration::from_secs(1_000));
        assert_eq!(order.status(later), OrderStatus::Processing);
        order.certificate_id = Some("certificate".to_owned());
        assert_eq!(order.status(later).as_str(), "valid");
    }

    #[test]
    fn an_order_of_a_deactivated_account_is_invalid_unless_its_certificate_is_there() {
        let mut order = order();
        order.account_deactivated_at = Some(START);
        let unauthorized = |order: &Order| match order.status(START) {
            OrderStatus::Invalid { problem } => problem.kind == ProblemType::Unauthorized,
            _ => false,
        };
        assert!(unauthorized(&order), "while pending");
        conclude(&mut order, 0, proved());
        conclude(&mut order, 1, proved());
        assert!(unauthorized(&order), "while ready");
        order.processing_since = Some(START);
        assert!(unauthorized(&order), "while processing");
        order.certificate_id = Some("certificate".to_owned());
        assert_eq!(order.status(START).as_str(), "valid");
    }

    #[derive(Clone, Debug)]
    enum Event {
        Prove(usize),
        Fail(usize),
        Deactivate(usize),
        DeactivateAccount,
        Finalize,
        Issue,
        GiveUp,
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..2usize).prop_map(Event::Prove),
            (0..2usize).prop_map(Event::Prove),
            (0..2usize).prop_map(Event::Fail),
            (0..2usize).prop_map(Event::Deactivate),
            Just(Event::DeactivateAccount),
            Just(Event::Finalize),
            Just(Event::Issue),
            Just(Event::GiveUp),
            (0..60u64).prop_map(Event::Wait),
        ]
    }

    proptest! {
        /// Every step of every history is an arrow of RFC 8555 §7.1.6, or no step at all.
        #[test]
        fn statuses_move_only_along_the_arrows(events in prop::collection::vec(event(), 0..24)) {
            let mut order = order();
            let mut now = START;
            for event in events {
                let before = order.status(now);
                match event {
                    Event::Prove(index) => conclude(&mut order, index, proved()),
                    Event::Fail(index) => conclude(&mut order, index, failed()),
                    Event::Deactivate(index) => {
                        order.authorizations[index].deactivated_at.get_or_insert(now);
                    }
                    Event::DeactivateAccount => {
                        order.account_deactivated_at.get_or_insert(now);
                    }
                    Event::Finalize if before == OrderStatus::Ready => {
                        order.processing_since = Some(now);
                    }
                    Event::Issue if before == OrderStatus::Processing => {
                        order.certificate_id = Some("certificate".to_owned());
                    }
                    Event::GiveUp if before == OrderStatus::Processing => {
                        order.error = Some(Problem::new(ProblemType::ServerInternal, "gave up"));
                    }
                    Event::Wait(seconds) => now = now.plus(Duration::from_secs(seconds)),
                    Event::Finalize | Event::Issue | Event::GiveUp => {}
                }
                let after = order.status(now);
                let arrows: &[&str] = match before.as_str() {
                    "pending" => &["pending", "ready", "invalid"],
                    "ready" => &["ready", "processing", "invalid"],
                    "processing" => &["processing", "valid", "invalid"],
                    last => &[last],
                };
                prop_assert!(arrows.contains(&after.as_str()), "{before:?} to {after:?}");
            }
        }
    }
}
