//! Config → store, authorities, validator, routers, workers; and the swap of these on reload.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::acme::nonce::NonceKey;
use crate::ca::{Authorities, Authority, Meta};
use crate::clock::{Clock, Timestamp};
use crate::config::{Ca, CaKey, Config, Digest, Hsm, TlsFiles, Validation};
use crate::entropy::Entropy;
use crate::flow::{self, Context, Limits, SharedContext};
use crate::http::acme::{self, Acme, Verifiers};
use crate::http::listener::Listener;
use crate::http::tls::{self, CertificateSlot, Files};
use crate::http::{ops, public};
use crate::signer::Signer;
use crate::signer::key_file::KeyFile;
use crate::signer::pkcs11::{Pkcs11Signer, Token, TokenOptions};
use crate::store::{self, Store};
use crate::telemetry::metrics::Metrics;
use crate::validation::{self, Validator};
use crate::worker;
use crate::x509::algorithm::{KeyType, SignatureAlgorithm};
use crate::x509::chain::Chain;
use crate::x509::profile::{ExtendedKeyUsage, Profile};

const DAY_S: i64 = 24 * 3600;
/// How often kipuka looks whether its own server certificate is due for renewal.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after a failed renewal the next is tried.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);
/// How long work under way may take to end once the listeners are closed.
const WORKERS_DRAIN: Duration = Duration::from_secs(15);

/// What keeps kipuka from starting, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StartError(String);

impl StartError {
    fn new(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// Opens the database and brings its schema up to date.
pub(crate) async fn open_store(config: &Config) -> Result<Store, StartError> {
    let failed = |error| StartError::new(format!("database {}", config.database.describe()), error);
    let store = Store::open(config.database.url.expose_secret(), config.database.max_connections)
        .await
        .map_err(failed)?;
    store.migrate().await.map_err(failed)?;
    Ok(store)
}

/// Opens the token of `[hsm]`.
pub(crate) async fn open_token(hsm: &Hsm) -> Result<Arc<Token>, StartError> {
    let options = TokenOptions {
        library: hsm.library.clone(),
        slot: hsm.slot,
        token_label: hsm.token_label.clone(),
        pin: hsm.pin.clone(),
        max_sessions: hsm.max_sessions,
        sign_deadline: hsm.sign_deadline,
    };
    blocking(move || Token::open(options)).await?.map_err(|error| StartError::new("[hsm]", error))
}

/// Whether any CA's key is in the token.
pub(crate) fn needs_token(config: &Config) -> bool {
    config.cas.iter().any(|ca| matches!(ca.key, CaKey::Hsm { .. }))
}

/// Whether two `[hsm]` sections lead to the same login, so that the open token serves both.
fn same_token(old: &Hsm, new: &Hsm) -> bool {
    let pin = |hsm: &Hsm| hsm.pin.as_ref().map(|pin| pin.expose_secret().to_owned());
    let rest = |hsm: &Hsm| {
        (
            hsm.library.clone(),
            hsm.slot,
            hsm.token_label.clone(),
            hsm.max_sessions,
            hsm.sign_deadline,
        )
    };
    rest(old) == rest(new) && pin(old) == pin(new)
}

/// Opens one `[[ca]]`: reads its certificate, finds its key, and has them prove that they belong
/// together.
pub(crate) async fn open_authority(
    ca: &Ca,
    token: Option<&Arc<Token>>,
    now: Timestamp,
) -> Result<Authority, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::new(format!("CA {:?}", ca.id), error);
    let path = ca.cert.display();
    let text = tokio::fs::read_to_string(&ca.cert)
        .await
        .map_err(|error| failed(&format!("{path}: {error}")))?;
    let chain = Chain::from_pem(&text).map_err(|error| failed(&format!("{path}: {error}")))?;
    check_certificate(ca, &chain, now).map_err(|why| failed(&format!("{path}: {why}")))?;
    let expected = chain.issuer().public_key().clone();
    let algorithm = algorithm(ca.digest, expected.key_type());
    let signer: Arc<dyn Signer> = match (&ca.key, token) {
        (CaKey::Hsm { cka_id }, Some(token)) => {
            let (token, id) = (Arc::clone(token), cka_id.clone());
            let open = move || Pkcs11Signer::open(&token, &id, algorithm, &expected);
            Arc::new(blocking(open).await?.map_err(|error| failed(&error))?)
        }
        (CaKey::Hsm { .. }, None) => {
            return Err(failed(&"its key is in a token, and none is open"));
        }
        (CaKey::File(path), _) => Arc::new(
            KeyFile::open(path, algorithm, Some(&expected)).map_err(|error| failed(&error))?,
        ),
    };
    Ok(Authority {
        id: ca.id.clone(),
        name: ca.name.clone(),
        issuer_id: store::issuer_id(&chain.download_chain()),
        chain,
        signer,
        profile: Profile {
            extended_key_usage: ExtendedKeyUsage { server_auth: true, client_auth: ca.client_auth },
            ..Profile::tls_server(i64::from(ca.validity_days) * DAY_S)
        },
        meta: Meta {
            terms_of_service: ca.terms_of_service.clone(),
            website: ca.website.clone(),
            caa_identities: ca.caa_identities.clone(),
        },
    })
}

/// The certificate must be in force, and carry the key usages that the configuration demands.
fn check_certificate(ca: &Ca, chain: &Chain, now: Timestamp) -> Result<(), String> {
    let certificate = chain.issuer();
    if now.unix_s() > chain.not_after_s() {
        let end = Timestamp::from_unix_s(chain.not_after_s());
        return Err(format!("a certificate in it expired at {end}; renew the CA's certificate"));
    }
    if now.unix_s() < certificate.not_before_s() {
        let begin = Timestamp::from_unix_s(certificate.not_before_s());
        return Err(format!("it is not valid before {begin}; is this machine's clock right?"));
    }
    let carried = certificate.key_usage();
    let missing: Vec<_> = ca
        .key_usage
        .iter()
        .map(|usage| usage.name())
        .filter(|usage| carried.as_ref().is_some_and(|carried| !carried.contains(usage)))
        .collect();
    if !missing.is_empty() {
        return Err(format!(
            "the CA certificate lacks the key usage {}, which key_usage demands",
            missing.join(", ")
        ));
    }
    Ok(())
}

fn algorithm(digest: Option<Digest>, key_type: KeyType) -> Option<SignatureAlgorithm> {
    Some(match (digest?, key_type) {
        (Digest::Sha256, KeyType::Rsa(_)) => SignatureAlgorithm::RsaSha256,
        (Digest::Sha384, KeyType::Rsa(_)) => SignatureAlgorithm::RsaSha384,
        (Digest::Sha512, KeyType::Rsa(_)) => SignatureAlgorithm::RsaSha512,
        (Digest::Sha256, _) => SignatureAlgorithm::EcdsaSha256,
        (Digest::Sha384, _) => SignatureAlgorithm::EcdsaSha384,
        // No ECDSA with SHA-512 here: the signer refuses what does not fit, and says so.
        (Digest::Sha512, _) => SignatureAlgorithm::RsaSha512,
    })
}

pub(crate) fn open_validator(config: &Validation) -> Result<Validator, StartError> {
    Validator::new(validation::Options {
        resolvers: config.resolvers.clone(),
        http_port: config.http_port,
        https_port: config.https_port,
        tls_alpn_port: config.tls_alpn_port,
        denied_networks: config.denied_networks.clone(),
        localhost_is_this_machine: config.resolve_localhost,
        timeouts: validation::Timeouts { attempt: config.timeout, ..Default::default() },
    })
    .map_err(|error| StartError::new("[validation]", error))
}

/// A running server.
pub(crate) struct App {
    config: Config,
    token: Option<Arc<Token>>,
    context: SharedContext,
    metrics: Arc<Metrics>,
    certificate: Arc<CertificateSlot>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    workers: JoinSet<()>,
}

impl App {
    /// Opens everything, listens, and starts to work. `listening` is told where ACME is served.
    pub(crate) async fn start(
        config: Config,
        listening: impl FnOnce(SocketAddr),
    ) -> Result<Self, StartError> {
        let clock = Clock::System;
        let store = open_store(&config).await?;
        let token = match &config.hsm {
            Some(hsm) if needs_token(&config) => Some(open_token(hsm).await?),
            _ => None,
        };
        let authorities = open_authorities(&config, token.as_ref(), &store, clock.now()).await?;
        store
            .lapse_leases(clock.now())
            .await
            .map_err(|error| StartError::new("database", error))?;
        let nonce_key = store
            .shared_key("nonce", Entropy)
            .await
            .map_err(|error| StartError::new("database", error))?;
        let nonces =
            NonceKey::new(&nonce_key).map_err(|error| StartError::new("nonce key", error))?;
        let context = Arc::new(Context {
            store,
            clock,
            entropy: Entropy,
            authorities: ArcSwap::from_pointee(authorities),
            validator: ArcSwap::from_pointee(open_validator(&config.validation)?),
            limits: Limits {
                hold: config.server.hold,
                validation_attempts: config.validation.attempts,
                ..Limits::default()
            },
        });
        let metrics = Arc::new(Metrics::new());
        let certificate = server_certificate(&config, &context).await?;
        let (stop, stopped) = watch::channel(false);
        let mut app = Self {
            config,
            token,
            context,
            metrics,
            certificate,
            stop,
            tasks: JoinSet::new(),
            workers: JoinSet::new(),
        };
        app.workers = worker::start(&app.context, &stopped);
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
            verifiers: Verifiers::default(),
            external_url: self.config.server.external_url.clone(),
        });
        let public = public::router(Arc::clone(&self.context));
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
                ops::router(Arc::clone(&self.context), Arc::clone(&self.metrics)),
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
            let metrics = Arc::clone(&self.metrics);
            let listener = Listener { name, socket, tls, router, metrics };
            self.tasks.spawn(listener.serve(stopped.clone(), drain));
        }
        Ok(acme_address)
    }

    fn watch_certificate(&mut self, stopped: &watch::Receiver<bool>) {
        let slot = Arc::clone(&self.certificate);
        match &self.config.server.tls {
            Some(files) => {
                let watch = tls_files(files).watch(slot, tls::WATCH_INTERVAL, stopped.clone());
                self.tasks.spawn(watch);
            }
            None => {
                let names = own_names(&self.config);
                let context = Arc::clone(&self.context);
                self.tasks.spawn(renew_own(context, slot, names, stopped.clone()));
            }
        }
    }

    /// Takes a new configuration over, all of it or nothing: CAs, validation, the TLS certificate.
    /// Listeners, the database and the token's library keep what they started with.
    pub(crate) async fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let token = match (&config.hsm, &self.token) {
            (Some(hsm), Some(token))
                if self.config.hsm.as_ref().is_some_and(|old| same_token(old, hsm)) =>
            {
                Some(Arc::clone(token))
            }
            (Some(hsm), _) if needs_token(&config) => Some(open_token(hsm).await?),
            _ => None,
        };
        let now = self.context.clock.now();
        let authorities =
            open_authorities(&config, token.as_ref(), &self.context.store, now).await?;
        let validator = open_validator(&config.validation)?;
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
        // From here on nothing can fail.
        self.context.authorities.store(Arc::new(authorities));
        self.context.validator.store(Arc::new(validator));
        self.token = token;
        self.config = Config { server: self.config.server.clone(), ..config };
        Ok(())
    }

    /// The file that was read, to be read again.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Ends: what was begun is finished, within bounds; work beyond them is on the list for the next
    /// start.
    pub(crate) async fn stop(mut self) {
        // Nobody listens any more if all tasks have ended: then there is nothing to stop.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        let workers = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(WORKERS_DRAIN, workers).await.is_err() {
            tracing::warn!(
                "work was cut off; its leases lapse and it is done after the next start"
            );
        }
        self.context.store.close().await;
    }
}

async fn open_authorities(
    config: &Config,
    token: Option<&Arc<Token>>,
    store: &Store,
    now: Timestamp,
) -> Result<Authorities, StartError> {
    let mut authorities = Vec::with_capacity(config.cas.len());
    for ca in &config.cas {
        let authority = open_authority(ca, token, now).await?;
        store
            .keep_issuer(&authority.chain.download_chain())
            .await
            .map_err(|error| StartError::new("database", error))?;
        tracing::info!(
            ca.id = authority.id,
            ca.name = authority.name,
            key = authority.signer.describe(),
            "CA opened"
        );
        authorities.push(Arc::new(authority));
    }
    Ok(Authorities::new(authorities))
}

async fn server_certificate(
    config: &Config,
    context: &Context,
) -> Result<Arc<CertificateSlot>, StartError> {
    if let Some(files) = &config.server.tls {
        return open_certificate(files);
    }
    let failed = |error: &dyn std::fmt::Display| StartError::new("[server] TLS", error);
    let own = issue_own(context, &own_names(config)).await.map_err(|error| failed(&error))?;
    CertificateSlot::new(own.chain_pem.as_bytes(), &own.key_pem).map_err(|error| failed(&error))
}

/// Reads the server's certificate and key.
pub(crate) fn open_certificate(files: &TlsFiles) -> Result<Arc<CertificateSlot>, StartError> {
    tls_files(files).load().map_err(|error| StartError::new("[server] TLS", error))
}

fn tls_files(files: &TlsFiles) -> Files {
    Files { certificate: files.cert.clone(), key: files.key.clone() }
}

/// The names under which clients reach this server.
struct OwnNames {
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
}

fn own_names(config: &Config) -> OwnNames {
    let mut dns_names = BTreeSet::from(["localhost".to_owned()]);
    let mut ip_addresses = BTreeSet::from([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    let listen = config.server.listen.ip();
    if !listen.is_unspecified() {
        ip_addresses.insert(listen);
    }
    let url = config.server.external_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => drop(dns_names.insert(name.to_owned())),
        Some(url::Host::Ipv4(ip)) => drop(ip_addresses.insert(ip.into())),
        Some(url::Host::Ipv6(ip)) => drop(ip_addresses.insert(ip.into())),
        None => {}
    }
    OwnNames {
        dns_names: dns_names.into_iter().collect(),
        ip_addresses: ip_addresses.into_iter().collect(),
    }
}

async fn issue_own(
    context: &Context,
    names: &OwnNames,
) -> Result<flow::OwnCertificate, flow::Error> {
    let authorities = context.authorities.load_full();
    let first = authorities.first();
    let first = first.ok_or_else(|| flow::Error::Failed("no [[ca]] is configured".to_owned()))?;
    flow::own_certificate(context, first, &names.dns_names, &names.ip_addresses).await
}

/// Renews kipuka's own certificate when a third of its life is left.
async fn renew_own(
    context: SharedContext,
    slot: Arc<CertificateSlot>,
    names: OwnNames,
    mut stop: watch::Receiver<bool>,
) {
    let mut renew_at = two_thirds(context.clock.now(), slot.not_after());
    while !*stop.borrow() {
        let mut pause = RENEWAL_INTERVAL;
        let now = context.clock.now();
        if now >= renew_at {
            let renewed = issue_own(&context, &names).await.map_err(|error| error.to_string());
            let renewed = renewed.and_then(|own| {
                slot.set(own.chain_pem.as_bytes(), &own.key_pem).map_err(|error| error.to_string())
            });
            match renewed {
                Ok(()) => renew_at = two_thirds(now, slot.not_after()),
                Err(error) => {
                    tracing::error!(error, "kipuka's own certificate could not be renewed");
                    pause = RENEWAL_RETRY;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

fn two_thirds(now: Timestamp, end: Timestamp) -> Timestamp {
    now.plus(end.since(now) / 3 * 2)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StartError::new("start", error))
}
