//! Where a history happens.

use std::ops::Deref;

use super::*;
use crate::flow::issue::{Unplanned, issue_unplanned};
use crate::flow::validate::{Unbegun, validate_unbegun};

type Queue<K> = mpsc::UnboundedReceiver<Handed<K>>;

pub(super) struct Instance {
    context: Context,
    /// What its workers do at once, if they do; else all of it goes on the list.
    at_once: Option<tokio::sync::Mutex<(Queue<Unbegun>, Queue<Unplanned>)>>,
}

impl Deref for Instance {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Instance {
    /// Waits for the answer; what is handed over meanwhile is done, and cut off where the answer comes
    /// before it is.
    pub(super) async fn answer<T>(&self, asked: impl Future<Output = T>) -> T {
        let Some(at_once) = &self.at_once else { return asked.await };
        let mut at_once = at_once.lock().await;
        let (validations, issuances) = &mut *at_once;
        let works = async {
            loop {
                let done = tokio::select! {
                    Some(handed) = validations.recv() => {
                        validate_unbegun(self, handed.known).await
                    }
                    Some(handed) = issuances.recv() => issue_unplanned(self, handed.known).await,
                };
                done.unwrap();
            }
        };
        tokio::select! {
            answer = asked => answer,
            () = works => unreachable!("it goes on"),
        }
    }
}

/// Two instances of a CA on one database, of which the second does at once what it is asked for.
pub(super) struct World {
    pub(super) database: Database,
    pub(super) instances: [ArcSwap<Instance>; 2],
    pub(super) authority: Arc<Authority>,
    pub(super) signer: Arc<Sick>,
    pub(super) responder: Responder,
    pub(super) clock: Clock,
    /// How many objects of each kind had each status at some look.
    pub(super) statuses: Mutex<BTreeMap<(&'static str, &'static str), usize>>,
}

impl World {
    pub(super) async fn new(database: Database) -> Self {
        let clock = Clock::fake(START);
        let store = Store::open(&database.url(), 4).await.unwrap();
        store.migrate().await.unwrap();
        let (authority, signer) = authority(&store, clock.now()).await;
        let authority = Arc::new(authority);
        let responder = Responder::start().await;
        let instance = |number| open(&database, &authority, &responder, &clock, number);
        let instances = [instance(0).await, instance(1).await].map(ArcSwap::from_pointee);
        let statuses = Mutex::default();
        Self { database, instances, authority, signer, responder, clock, statuses }
    }

    pub(super) async fn restart(&self, instance: usize) {
        let context =
            open(&self.database, &self.authority, &self.responder, &self.clock, instance).await;
        context.store.lapse_leases(self.clock.now()).await.unwrap();
        self.instances[instance].store(Arc::new(context));
    }

    pub(super) async fn play(&self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let play = Play::begin(self).await;
        for (instance, act, meanwhile) in &steps {
            match meanwhile {
                None => play.act(*instance, act).await,
                Some(other) => {
                    tokio::join!(play.act(*instance, act), play.act(1 - instance, other));
                }
            }
            play.look(&format!("{act:?} and {meanwhile:?}")).await?;
        }
        play.end().await
    }
}

async fn open(
    database: &Database,
    authority: &Arc<Authority>,
    responder: &Responder,
    clock: &Clock,
    number: usize,
) -> Instance {
    let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let validator = Validator::new(Options {
        resolvers: vec![closed()],
        http_port: responder.http_port,
        https_port: closed().port(),
        // One gets a wrong answer where the other gets none.
        tls_alpn_port: if number == 0 { responder.tls_port } else { closed().port() },
        ..Options::default()
    });
    let context = Context {
        store: Store::open(&database.url(), 4).await.unwrap(),
        clock: clock.clone(),
        entropy: Entropy,
        authorities: ArcSwap::from_pointee(Authorities::new(vec![Arc::clone(authority)])),
        validator: ArcSwap::from_pointee(validator.unwrap()),
        limits: ArcSwap::from_pointee(Limits { hold: Duration::ZERO, ..Limits::default() }),
        at_once: AtOnce::default(),
        at_cap: Default::default(),
        metrics: Arc::new(crate::telemetry::metrics::Metrics::new()),
        refusals: Default::default(),
        changes: Default::default(),
    };
    let at_once = (number == 1).then(|| {
        (receive(&context.at_once.validations), receive(&context.at_once.issuances)).into()
    });
    Instance { context, at_once }
}
