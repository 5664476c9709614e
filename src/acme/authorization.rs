//! Authorizations (RFC 8555 §7.1.4).

use super::challenge::{Challenge, ChallengeResult, ChallengeStatus};
use super::identifier::Identifier;
use super::problem::Problem;
use crate::clock::Timestamp;

/// What is known of an authorization: an account's right to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) id: String,
    pub(crate) ca: String,
    pub(crate) account_id: String,
    /// With its wildcard, where the order asked for one.
    pub(crate) identifier: Identifier,
    /// Whether it stands for every name below the identifier, too (RFC 9444 §4.1).
    pub(crate) subdomains: bool,
    pub(crate) expires_at: Timestamp,
    pub(crate) deactivated_at: Option<Timestamp>,
    /// The challenge whose result decided it; written once, together with that result, so that
    /// of two challenges that end at the same time exactly one decides.
    pub(crate) concluded_by: Option<String>,
    /// At least the one that `concluded_by` names.
    pub(crate) challenges: Vec<Challenge>,
}

/// The status of an authorization (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationStatus<'a> {
    Pending,
    Valid,
    /// By a failed challenge, whose problem this is, or because nothing came before it expired.
    Invalid {
        problem: Option<&'a Problem>,
    },
    Deactivated,
    Expired,
}

impl AuthorizationStatus<'_> {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Invalid { .. } => "invalid",
            Self::Deactivated => "deactivated",
            Self::Expired => "expired",
        }
    }
}

impl Authorization {
    /// The challenge that decided this authorization.
    pub(crate) fn concluding_challenge(&self) -> Option<&Challenge> {
        let id = self.concluded_by.as_deref()?;
        self.challenges.iter().find(|challenge| challenge.id == id)
    }

    /// The same once the challenge with this id was proved at that time.
    pub(crate) fn proved_by(mut self, challenge_id: &str, at: Timestamp) -> Self {
        for challenge in self.challenges.iter_mut().filter(|one| one.id == challenge_id) {
            challenge.begun_at.get_or_insert(at);
            challenge.retry = None;
            challenge.result = Some(ChallengeResult::Proved { at });
        }
        Self { concluded_by: Some(challenge_id.to_owned()), ..self }
    }

    /// Whether it stands for this identifier: for its own, or where it covers subdomains, for a name
    /// below. Of a wildcard only the wildcard's own authorization tells (RFC 8555 §7.1.3).
    pub(crate) fn covers(&self, identifier: &Identifier) -> bool {
        self.identifier == *identifier || (self.subdomains && identifier.is_below(&self.identifier))
    }

    /// What came first stands: of an authorization that had expired, its account's later deactivation
    /// changes nothing.
    pub(crate) fn status(&self, now: Timestamp) -> AuthorizationStatus<'_> {
        let result = self.concluding_challenge().and_then(|challenge| challenge.result.as_ref());
        let expired = self.expires_at <= now;
        match result {
            Some(ChallengeResult::Failed { problem }) => {
                AuthorizationStatus::Invalid { problem: Some(problem) }
            }
            _ if self.deactivated_at.is_some_and(|at| at < self.expires_at) => {
                AuthorizationStatus::Deactivated
            }
            Some(ChallengeResult::Proved { .. }) if expired => AuthorizationStatus::Expired,
            Some(ChallengeResult::Proved { .. }) => AuthorizationStatus::Valid,
            None if expired => AuthorizationStatus::Invalid { problem: None },
            None => AuthorizationStatus::Pending,
        }
    }

    /// The status of one of the challenges, with regard to what became of the authorization.
    pub(crate) fn challenge_status<'a>(
        &self,
        challenge: &'a Challenge,
        now: Timestamp,
    ) -> ChallengeStatus<'a> {
        match challenge.status() {
            ChallengeStatus::Processing if self.status(now) != AuthorizationStatus::Pending => {
                ChallengeStatus::Overtaken
            }
            status => status,
        }
    }

    /// The challenges a client may see: once decided, only the one that decided (RFC 8555 §7.1.4).
    pub(crate) fn visible_challenges(&self) -> Vec<&Challenge> {
        match self.concluding_challenge() {
            Some(challenge) => vec![challenge],
            None => self.challenges.iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::challenge::ChallengeType;
    use crate::acme::problem::ProblemType;

    const NOW: Timestamp = Timestamp::from_unix_s(1_000);
    const PAST: Timestamp = Timestamp::from_unix_s(999);
    const FUTURE: Timestamp = Timestamp::from_unix_s(1_001);

    fn status_of(
        result: Option<ChallengeResult>,
        expires_at: Timestamp,
        deactivated: bool,
    ) -> &'static str {
        Authorization {
            id: "authz".to_owned(),
            ca: "ca".to_owned(),
            account_id: "account".to_owned(),
            identifier: Identifier::dns("a.test").unwrap(),
            subdomains: false,
            expires_at,
            deactivated_at: deactivated.then_some(PAST),
            concluded_by: result.is_some().then(|| "challenge".to_owned()),
            challenges: vec![Challenge {
                id: "challenge".to_owned(),
                kind: ChallengeType::Http01,
                token: "token".to_owned(),
                begun_at: Some(PAST),
                account_url: None,
                retry: None,
                attested_key: None,
                result,
            }],
        }
        .status(NOW)
        .as_str()
    }

    #[test]
    fn a_challenge_that_was_begun_is_processing_only_while_its_authorization_is_pending() {
        let challenge = |id: &str, begun: bool, result| Challenge {
            id: id.to_owned(),
            kind: ChallengeType::Http01,
            token: "token".to_owned(),
            begun_at: begun.then_some(PAST),
            account_url: None,
            retry: None,
            attested_key: None,
            result,
        };
        let proved = challenge("first", true, Some(ChallengeResult::Proved { at: PAST }));
        let begun = challenge("second", true, None);
        let fresh = challenge("third", false, None);
        let authorization = |concluded: bool, expires_at, deactivated: bool| Authorization {
            id: "authz".to_owned(),
            ca: "ca".to_owned(),
            account_id: "account".to_owned(),
            identifier: Identifier::dns("a.test").unwrap(),
            subdomains: false,
            expires_at,
            deactivated_at: deactivated.then_some(PAST),
            concluded_by: concluded.then(|| "first".to_owned()),
            challenges: vec![proved.clone(), begun.clone(), fresh.clone()],
        };
        for (concluded, expires_at, deactivated, expected) in [
            (false, FUTURE, false, ["valid", "processing", "pending"]),
            (true, FUTURE, false, ["valid", "invalid", "pending"]),
            (false, FUTURE, true, ["valid", "invalid", "pending"]),
            (false, PAST, false, ["valid", "invalid", "pending"]),
        ] {
            let authorization = authorization(concluded, expires_at, deactivated);
            let shown = [&proved, &begun, &fresh]
                .map(|challenge| authorization.challenge_status(challenge, NOW).as_str());
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn the_status_follows_from_the_facts() {
        let proved = Some(ChallengeResult::Proved { at: PAST });
        let failed = Some(ChallengeResult::Failed {
            problem: Problem::new(ProblemType::Connection, "refused"),
        });
        for (result, expires_at, deactivated, expected) in [
            (None, FUTURE, false, "pending"),
            (None, NOW, false, "invalid"),
            (None, FUTURE, true, "deactivated"),
            (proved.clone(), FUTURE, false, "valid"),
            (proved.clone(), NOW, false, "expired"),
            (proved.clone(), FUTURE, true, "deactivated"),
            (proved, PAST, true, "expired"),
            (None, PAST, true, "invalid"),
            (failed.clone(), FUTURE, false, "invalid"),
            (failed.clone(), PAST, false, "invalid"),
            (failed, FUTURE, true, "invalid"),
        ] {
            assert_eq!(status_of(result.clone(), expires_at, deactivated), expected, "{result:?}");
        }
    }
}
