//! Challenges that are validated at once, as by a worker of the same instance.

use futures_util::FutureExt as _;
use futures_util::future::join;
use harness::Responder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener as Listener;

use super::super::validate::{Unbegun, validate_unbegun};
use super::*;
use crate::acme::challenge::Challenge;
use crate::acme::key_authorization::key_authorization;

const WORK: &str = "SELECT (SELECT COUNT(*) FROM work) + (SELECT COUNT(*) FROM work_in_hand)";
const LISTED: &str = "SELECT COUNT(*) FROM work";

/// A site where one authorization waits for its proof.
struct Unproved {
    site: Site,
    authorization: Authorization,
    http01: Challenge,
}

type Queue = mpsc::UnboundedReceiver<Handed<Unbegun>>;

impl Unproved {
    /// That looks for proofs at this port, for so long before anything is written.
    async fn at(http_port: u16, soon: Duration) -> (Self, Queue) {
        let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = Options { resolvers: vec![closed()], http_port, ..Options::default() };
        let site = Site::with(Validator::new(options).unwrap(), |_| {}).await;
        let limits = &site.context.limits;
        limits.store(Arc::new(Limits { soon, ..(**limits.load()).clone() }));
        let authorization = site.place(&["a.localhost"]).await.authorizations.remove(0);
        let of_http = |one: &&Challenge| one.kind == ChallengeType::Http01;
        let http01 = authorization.challenges.iter().find(of_http).unwrap().clone();
        let handed = receive(&site.context.at_once.validations);
        (Self { site, authorization, http01 }, handed)
    }

    /// With its proof shown.
    async fn with_proof() -> (Self, Queue, Responder) {
        let responder = Responder::start().await;
        let (unproved, handed) = Self::at(responder.http_port, DAY).await;
        responder.show_http01(&unproved.http01.token, &unproved.proof());
        (unproved, handed, responder)
    }

    fn proof(&self) -> String {
        key_authorization(&self.http01.token, &self.site.account.thumbprint)
    }

    /// The client says that its challenge is ready.
    async fn begin(&self) -> Result<Authorization, Error> {
        self.site.begin(&self.authorization, &self.http01.id).await
    }

    /// Does what is handed over, as a worker does.
    async fn work(&self, handed: &mut Queue) {
        let work = handed.recv().await.unwrap();
        validate_unbegun(&self.site.context, work.known).await.unwrap();
    }

    async fn begin_and_work(&self, handed: &mut Queue) -> Authorization {
        join(self.begin(), self.work(handed)).await.0.unwrap()
    }

    async fn found(&self) -> Authorization {
        self.site.store().authorization("web", &self.authorization.id).await.unwrap().unwrap()
    }

    async fn status(&self) -> &'static str {
        status_of(&self.found().await, &self.http01.id)
    }
}

fn status_of(authorization: &Authorization, challenge: &str) -> &'static str {
    authorization.challenges.iter().find(|one| one.id == challenge).unwrap().status().as_str()
}

/// Polls once: until what it does is handed over.
fn is_pending(future: impl Future + Unpin) -> bool {
    future.now_or_never().is_none()
}

#[tokio::test]
async fn a_proof_that_is_there_soon_is_written_with_the_beginning() {
    let (unproved, mut handed, _responder) = Unproved::with_proof().await;
    let limits = &unproved.site.context.limits;
    limits.store(Arc::new(Limits { hold: DAY, ..(**limits.load()).clone() }));
    let before = unproved.site.commits();
    let told = unproved.begin_and_work(&mut handed).await;
    assert_eq!(unproved.site.commits(), before + 1);
    assert_eq!(told.status(START), AuthorizationStatus::Valid);
    let mut found = unproved.found().await;
    for challenge in &mut found.challenges {
        // The account's own word, which nobody is told.
        challenge.account_url = None;
    }
    assert_eq!(told, found);
    assert_eq!(unproved.site.count(WORK).await, 0);
    // Said again, the client gets the same.
    assert_eq!(unproved.site.begin(&told, &unproved.http01.id).await.unwrap(), told);
}

#[tokio::test]
async fn a_wrong_proof_that_is_there_soon_fails_the_order_with_the_beginning() {
    let responder = Responder::start().await;
    let (unproved, mut handed) = Unproved::at(responder.http_port, DAY).await;
    responder.show_http01(&unproved.http01.token, "wrong");
    let before = unproved.site.commits();
    let told = unproved.begin_and_work(&mut handed).await;
    assert_eq!(unproved.site.commits(), before + 1);
    assert_eq!(told.status(START).as_str(), "invalid");
    assert_eq!(unproved.site.count(WORK).await, 0);
    let failed = "SELECT COUNT(*) FROM orders WHERE failed_at IS NOT NULL";
    assert_eq!(unproved.site.count(failed).await, 1);
}

#[tokio::test]
async fn a_challenge_without_an_answer_has_begun_and_is_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (unproved, mut handed) = Unproved::at(closed.port(), DAY).await;
    unproved.begin_and_work(&mut handed).await;
    assert_eq!(unproved.status().await, "processing");
    assert_eq!(unproved.site.count(LISTED).await, 1);
    let second = Duration::from_secs(1);
    assert_eq!(unproved.site.pause(WorkKind::Validation).await, Some(second));
    unproved.site.advance(second);
    assert_eq!(unproved.site.claim(WorkKind::Validation).await.unwrap().attempt(), 2);
}

/// The lease is there before the client hears of it, and the attempt goes on.
#[tokio::test]
async fn of_a_proof_that_takes_its_time_the_beginning_is_written_first() {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (unproved, mut handed) = Unproved::at(port, Duration::ZERO).await;
    let client = async {
        let told = unproved.begin().await.unwrap();
        assert_eq!(unproved.site.count("SELECT COUNT(*) FROM work_in_hand").await, 1);
        let (mut stream, _) = listener.accept().await.unwrap();
        let proof = unproved.proof();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{proof}", proof.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        // The connection stays until the answer is read.
        (told, stream)
    };
    let (_, (told, _)) = join(unproved.work(&mut handed), client).await;
    assert_eq!(status_of(&told, &unproved.http01.id), "processing");
    assert_eq!(unproved.status().await, "valid");
    assert_eq!(unproved.site.count(WORK).await, 0);
}

/// Whoever says so again meanwhile waits for what the first attempt comes to.
#[tokio::test]
async fn of_a_challenge_that_is_said_to_be_ready_twice_one_attempt_is_made() {
    let (unproved, mut handed, _responder) = Unproved::with_proof().await;
    let mut first = Box::pin(unproved.begin());
    assert!(is_pending(&mut first));
    let mut again = Box::pin(unproved.begin());
    assert!(is_pending(&mut again));
    unproved.work(&mut handed).await;
    for told in [first.await.unwrap(), again.await.unwrap()] {
        assert_eq!(told.status(START), AuthorizationStatus::Valid);
    }
    assert!(handed.try_recv().is_err());
    assert_eq!(unproved.site.count(WORK).await, 0);
    let proved = "SELECT COUNT(*) FROM audit_pending WHERE entry LIKE '%authorization.valid%'";
    assert_eq!(unproved.site.count(proved).await, 1);
}

/// Nobody waits for long for somebody else's attempt.
#[tokio::test]
async fn a_challenge_whose_first_attempt_hangs_goes_on_the_list_when_it_is_said_to_be_ready_again()
{
    let (unproved, mut handed) = Unproved::at(1, Duration::from_millis(1)).await;
    let mut first = Box::pin(unproved.begin());
    assert!(is_pending(&mut first));
    let again = unproved.begin().await.unwrap();
    assert_eq!(status_of(&again, &unproved.http01.id), "processing");
    assert_eq!(unproved.site.count(LISTED).await, 1);
    unproved.work(&mut handed).await;
    assert_eq!(status_of(&first.await.unwrap(), &unproved.http01.id), "processing");
    assert_eq!(unproved.site.count(LISTED).await, 1);
}

/// Else anybody could have kipuka look for proofs without end, of which nothing is kept.
#[tokio::test]
async fn while_nothing_can_be_written_no_proof_is_looked_for() {
    let (unproved, mut handed, _responder) = Unproved::with_proof().await;
    let site = &unproved.site;
    let full =
        "CREATE TRIGGER full BEFORE UPDATE ON challenges BEGIN SELECT RAISE(ABORT, 'full'); END";
    site.database.ask(full).unwrap();
    let works = async {
        let work = handed.recv().await.unwrap();
        assert!(validate_unbegun(&site.context, work.known).await.is_err(), "it counts as failed");
    };
    let (told, ()) = join(unproved.begin(), works).await;
    assert!(matches!(told, Err(Error::Unavailable(_) | Error::Failed(_))), "{told:?}");
    assert!(unproved.begin().await.is_err());
    assert!(handed.try_recv().is_err(), "the list comes first now");
    assert_eq!(unproved.status().await, "pending");
    site.database.ask("DROP TRIGGER full").unwrap();
    unproved.begin().await.unwrap();
    assert_eq!(site.count(LISTED).await, 1);
}

#[tokio::test]
async fn nothing_is_written_of_a_proof_whose_account_is_gone_by_then() {
    let (unproved, mut handed, _responder) = Unproved::with_proof().await;
    let mut told = Box::pin(unproved.begin());
    assert!(is_pending(&mut told));
    let site = &unproved.site;
    deactivate_account(&site.context, site.account.clone()).await.unwrap();
    unproved.work(&mut handed).await;
    assert_eq!(told.await.unwrap().status(START), AuthorizationStatus::Deactivated);
    assert_eq!(unproved.status().await, "pending");
    assert_eq!(site.count(WORK).await, 0);
}

/// The key authorization is that of the key that the account has now (RFC 8555 §8.1).
#[tokio::test]
async fn what_an_accounts_former_key_proves_does_not_count() {
    let (unproved, mut handed, _responder) = Unproved::with_proof().await;
    let mut told = Box::pin(unproved.begin());
    assert!(is_pending(&mut told));
    let site = &unproved.site;
    let old = Jwk::from_json(&site.account.jwk).unwrap();
    let new = Jwk::from_json(&Key::new(Algorithm::Es256).jwk().to_string()).unwrap();
    change_key(&site.context, site.account.clone(), &old, &new).await.unwrap();
    // Nor is the attempt forgotten, though the client has gone.
    drop(told);
    unproved.work(&mut handed).await;
    assert_eq!(unproved.status().await, "processing");
    let lease = site.claim(WorkKind::Validation).await.unwrap();
    validate(&site.context, lease).await.unwrap();
    assert_eq!(unproved.status().await, "invalid");
}

#[tokio::test]
async fn a_client_whose_validation_is_cut_off_is_told_to_ask_again() {
    let (unproved, mut handed) = Unproved::at(1, DAY).await;
    let mut told = Box::pin(unproved.begin());
    assert!(is_pending(&mut told));
    let cut_off = handed.try_recv().unwrap();
    drop(cut_off.known);
    let site = &unproved.site;
    site.store().hand_back([cut_off.claim], site.context.clock.now()).await.unwrap();
    assert!(matches!(told.await, Err(Error::CutOff)));
    assert_eq!(unproved.status().await, "pending");
    assert_eq!(site.count(WORK).await, 0);
}
