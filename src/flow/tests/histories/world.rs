//! Where a history happens.

use super::*;

/// Two instances of a CA on one database.
pub(super) struct World {
    pub(super) database: Database,
    pub(super) instances: [ArcSwap<Context>; 2],
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
        let instance = |tls| open(&database, &authority, &responder, &clock, tls);
        let instances = [instance(true).await, instance(false).await].map(ArcSwap::from_pointee);
        let statuses = Mutex::default();
        Self { database, instances, authority, signer, responder, clock, statuses }
    }

    pub(super) async fn restart(&self, instance: usize) {
        let context =
            open(&self.database, &self.authority, &self.responder, &self.clock, instance == 0)
                .await;
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
    sees_tls: bool,
) -> Context {
    let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let validator = Validator::new(Options {
        resolvers: vec![closed()],
        http_port: responder.http_port,
        https_port: closed().port(),
        // One gets a wrong answer where the other gets none.
        tls_alpn_port: if sees_tls { responder.tls_port } else { closed().port() },
        ..Options::default()
    });
    Context {
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
    }
}
