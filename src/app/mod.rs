//! Config → store, authorities, validator, routers, workers; and the swap of these on reload.

mod authority;
mod means;
mod open;
mod pulse;
mod server_certificate;
mod stop;
mod trail;

pub(crate) use authority::{Demand, open_authority, open_signer, read_chain};
pub(crate) use open::{
    StartError, Tokens, needs_token, open_store, open_store_to_read, open_token, open_validator,
};
pub(crate) use pulse::Pulse;
pub(crate) use server_certificate::open_certificate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use self::authority::{demand_a_signer, open_authorities};
use self::means::within_means;
use self::open::tokens;
use self::server_certificate::{own_names, renew_own, server_certificate, tls_files};
use crate::acme::nonce::NonceKey;
use crate::clock::Clock;
use crate::config::{CaaMode, Config, Hsm};
use crate::entropy::Entropy;
use crate::flow::{AtCap, AtOnce, Context, LONGEST_IN_ATTEMPTS, Limits, Refusals, SharedContext};
use crate::http::acme::{self, Acme, Bodies, Known};
use crate::http::admission::Admission;
use crate::http::listener::Listener;
use crate::http::tls::{self, CertificateSlot};
use crate::http::{ops, public};
use crate::ledger::Kind;
use crate::signer::pkcs11::DEFAULT_SIGN_DEADLINE;
use crate::telemetry::metrics::Metrics;
use crate::worker::{self, Phase};

fn limits(config: &Config) -> Limits {
    Limits {
        hold: config.server.hold,
        reuse: config.validation.reuse,
        validation_attempts: config.validation.attempts,
        issuance_lease: issuance_lease(config),
        // As with issuance: an attempt must end before another may begin, or none ever counts.
        validation_lease: config.validation.timeout + Duration::from_secs(10),
        at_once_per_account: usize::try_from(config.limits.at_once_per_account).unwrap_or(1),
        accounts: config.limits.clone(),
        keep: config.database.keep,
        keep_unfinished: config.database.keep_unfinished,
        ..Limits::default()
    }
}

/// How long issuance may be under way before another worker takes it: longer than a signer takes at
/// most, with all its tokens asked one second after another.
fn issuance_lease(config: &Config) -> Duration {
    let deadline = |hsm: &Hsm| hsm.sign_deadline.unwrap_or(DEFAULT_SIGN_DEADLINE);
    let longest = config.hsms.iter().map(deadline).max().unwrap_or(DEFAULT_SIGN_DEADLINE);
    let signing = longest + Duration::from_secs(10 + config.hsms.len() as u64);
    let rechecks = config
        .cas
        .iter()
        .any(|ca| ca.caa != CaaMode::Off || ca.challenges.contains(&"dns-persist-01"));
    if rechecks { signing + LONGEST_IN_ATTEMPTS * config.validation.timeout } else { signing }
}

/// A running server.
pub(crate) struct App {
    config: Config,
    tokens: Tokens,
    context: SharedContext,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    certificate: Arc<CertificateSlot>,
    /// No more clients should be sent here.
    leaving: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    workers: JoinSet<()>,
    /// Of all tasks and workers: none ends before the server does.
    handles: Vec<AbortHandle>,
}

impl App {
    /// Opens everything, listens, and starts to work. `listening` is told where ACME is served.
    pub(crate) async fn start(
        config: Config,
        listening: impl FnOnce(SocketAddr),
    ) -> Result<Self, StartError> {
        let clock = Clock::System;
        let metrics = Arc::new(Metrics::new());
        let store = open_store(&config, &metrics.store).await?;
        let tokens = tokens(&config, &[], &metrics).await?;
        let http_url = config.server.http_url.as_deref();
        let authorities = open_authorities(&config, &tokens, &store, http_url, clock.now()).await?;
        demand_a_signer(&authorities)?;
        store
            .lapse_leases(clock.now())
            .await
            .map_err(|error| StartError::new("database", error))?;
        let nonce_key =
            store.nonce_key(Entropy).await.map_err(|error| StartError::new("database", error))?;
        let nonces = NonceKey::new(nonce_key);
        let context = Arc::new(Context {
            store,
            clock,
            entropy: Entropy,
            authorities: ArcSwap::from_pointee(authorities),
            validator: ArcSwap::from_pointee(open_validator(
                &config.validation,
                &metrics.validation,
            )?),
            limits: ArcSwap::from_pointee(limits(&config)),
            at_once: AtOnce::default(),
            at_cap: AtCap::default(),
            metrics: Arc::clone(&metrics),
            refusals: Refusals::default(),
            changes: Default::default(),
        });
        let started = trail::of_instance(Kind::InstanceStarted, &config, &context);
        let failed = |error| StartError::new("database", error);
        context.store.note_alone(&started).await.map_err(failed)?;
        let certificate = server_certificate(&config, &context).await?;
        let admission = Admission::new(&within_means(&config.limits), metrics.limits.clone());
        let (stop, stopped) = watch::channel(false);
        let (phase, phases) = watch::channel(Phase::Working);
        let (workers, handles) = worker::start(&context, &phases);
        let mut app = Self {
            config,
            tokens,
            context,
            metrics,
            admission,
            certificate,
            leaving: Arc::default(),
            stop,
            phase,
            tasks: JoinSet::new(),
            workers,
            handles,
        };
        app.metrics.reload.started(app.context.clock.now().unix_s());
        app.watch_certificate(&stopped);
        listening(app.listen(nonces, &stopped).await?);
        Ok(app)
    }

    async fn listen(
        &mut self,
        nonces: NonceKey,
        stopped: &watch::Receiver<bool>,
    ) -> Result<SocketAddr, StartError> {
        let acme = Arc::new(Acme {
            context: Arc::clone(&self.context),
            nonces,
            known: Known::default(),
            external_url: self.config.server.external_url.clone(),
            certificate: Arc::clone(&self.certificate),
            admission: Arc::clone(&self.admission),
            bodies: Bodies::default(),
        });
        let public = public::router(Arc::clone(&self.context), Arc::clone(&self.admission));
        let tls = tls::server_config(Arc::clone(&self.certificate))
            .map_err(|error| StartError::new("TLS", error))?;
        let server = &self.config.server;
        let listeners = [
            ("acme", Some(server.listen), Some(tls), acme::router(acme).merge(public.clone())),
            ("public", server.http_listen, None, public),
            (
                "admin",
                server.admin_listen,
                None,
                ops::router(
                    Arc::clone(&self.context),
                    Arc::clone(&self.certificate),
                    Arc::clone(&self.leaving),
                ),
            ),
        ];
        let drain = server.drain;
        let mut acme_address = server.listen;
        for (name, address, tls, router) in listeners {
            let Some(address) = address else { continue };
            let cannot = |error| StartError::new(format!("cannot listen on {address}"), error);
            let socket = TcpListener::bind(address).await.map_err(cannot)?;
            let address = socket.local_addr().map_err(cannot)?;
            if name == "acme" {
                acme_address = address;
            }
            tracing::info!(listener = name, %address, "listening");
            let (admission, metrics) = (Arc::clone(&self.admission), self.metrics.http.clone());
            let listener = Listener { name, socket, tls, router, admission, metrics };
            self.handles.push(self.tasks.spawn(listener.serve(stopped.clone(), drain)));
        }
        Ok(acme_address)
    }

    fn watch_certificate(&mut self, stopped: &watch::Receiver<bool>) {
        let slot = Arc::clone(&self.certificate);
        let task = match &self.config.server.tls {
            Some(files) => {
                let watch = tls_files(files).watch(slot, tls::WATCH_INTERVAL, stopped.clone());
                self.tasks.spawn(watch)
            }
            None => {
                let names = own_names(&self.config);
                let context = Arc::clone(&self.context);
                self.tasks.spawn(renew_own(context, slot, names, stopped.clone()))
            }
        };
        self.handles.push(task);
    }

    /// Takes a new configuration over, all of it or nothing: CAs, validation, limits, the TLS certificate.
    /// Listeners, the database and the token's library keep what they started with.
    pub(crate) async fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let done = self.take_over(config).await;
        if done.is_ok() {
            self.metrics.reload.ok(self.context.clock.now().unix_s());
        }
        // Whichever tokens are left show how they are; those that are gone had the same names.
        self.tokens.values().for_each(|token| token.show());
        done
    }

    async fn take_over(&mut self, config: Config) -> Result<(), StartError> {
        let open: Vec<_> = self
            .config
            .hsms
            .iter()
            .filter_map(|hsm| Some((hsm, self.tokens.get(&hsm.name)?)))
            .collect();
        let tokens = tokens(&config, &open, &self.metrics).await?;
        for token in tokens.values() {
            token.resume();
        }
        let now = self.context.clock.now();
        // As all of [server], it stays until a restart.
        let http_url = self.config.server.http_url.as_deref();
        let authorities =
            open_authorities(&config, &tokens, &self.context.store, http_url, now).await?;
        let validator = open_validator(&config.validation, &self.metrics.validation)?;
        // The files that it serves with; others need a restart, as every change of [server] does.
        if let Some(files) = &self.config.server.tls {
            tls_files(files)
                .reload(&self.certificate)
                .map_err(|error| StartError::new("[server]", error))?;
        }
        let restart = [
            ("[server]", config.server != self.config.server),
            (
                "[database]",
                config.database.url.expose_secret() != self.config.database.url.expose_secret(),
            ),
        ];
        for (section, _) in restart.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(section, "changes to this section need a restart");
        }
        let reloaded = trail::of_instance(Kind::InstanceReloaded, &config, &self.context);
        let failed = |error| StartError::new("database", error);
        self.context.store.note_alone(&reloaded).await.map_err(failed)?;
        // From here on nothing can fail.
        self.context.authorities.store(Arc::new(authorities));
        self.context.validator.store(Arc::new(validator));
        self.context.limits.store(Arc::new(Limits {
            // It belongs to [server].
            hold: self.config.server.hold,
            ..limits(&config)
        }));
        self.admission.reload(&within_means(&config.limits));
        self.tokens = tokens;
        self.config = Config { server: self.config.server.clone(), ..config };
        Ok(())
    }

    /// A configuration could not be taken over, or not even be read.
    pub(crate) async fn reload_failed(&self) {
        self.metrics.reload.failed();
        trail::note_refused_reload(&self.config, &self.context).await;
    }

    /// The file that was read, to be read again.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}
