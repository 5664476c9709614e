//! The kipuka process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use openssl::x509::{X509, X509Crl};
use tempfile::TempDir;

use crate::acme::{Answer, Client};
use crate::csr;
use crate::issuer::Issuer;
use crate::key::{Algorithm, Key};
use crate::port::Port;
use crate::responder::Responder;
use crate::token::{PIN, Token};
use crate::zone::Zone;

/// How long a start may take: a token's library and a busy machine included.
const START: Duration = Duration::from_secs(60);
/// The program writes its lines together: how much later than what they tell of, at most, on a busy machine.
const LATEST_LINE: Duration = Duration::from_millis(50);

/// What is kept of a log of which only the end is.
const LOG_END: usize = 64 * 1024;

/// How long a CRL may take to tell of what was revoked.
const CRL: Duration = Duration::from_secs(30);

/// Builds kipuka where that is needed, and returns the program. For tests in packages of their own:
/// those of kipuka's use `env!("CARGO_BIN_EXE_kipuka")`.
pub fn binary() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--quiet", "--workspace", "--bin", "kipuka"]).current_dir(&root);
    crate::command::run(&mut cargo);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug/kipuka")
}

/// A `[[ca]]` to be.
#[derive(Clone, Debug)]
pub enum Ca {
    /// A key file and a certificate below a root that the harness makes.
    KeyFile { id: &'static str, rsa: bool },
    /// A key in the token, made with this type and id, with a certificate of its own.
    Token { id: &'static str, key_type: &'static str, cka_id: u8 },
}

impl Ca {
    fn id(&self) -> &'static str {
        match self {
            Self::KeyFile { id, .. } | Self::Token { id, .. } => id,
        }
    }
}

/// What is different from one test to the next.
#[derive(Default)]
pub struct Settings {
    pub cas: Vec<Ca>,
    /// SoftHSM2 unless set, where a CA's key is in a token.
    pub token: Option<Token>,
    /// SQLite in the server's folder unless set.
    pub database_url: Option<String>,
    /// Goes into `[server]`.
    pub server: String,
    /// Goes into every `[[ca]]`.
    pub ca: String,
    /// Further sections.
    pub sections: String,
    /// Goes into `[validation]`.
    pub validation: String,
    /// Where http-01 is asked; the responder's port unless set.
    pub http_port: Option<u16>,
    /// Where tls-alpn-01 is asked; the responder's port unless set.
    pub tls_alpn_port: Option<u16>,
    /// Goes into `[policy]`.
    pub policy: String,
    /// Who is asked for names; the zone unless set.
    pub resolver: Option<SocketAddr>,
    /// Only the end of the log is kept, for runs of millions of lines.
    pub forgets_log: bool,
}

impl Settings {
    /// One CA, `ca`, with a P-256 key in a file.
    pub fn key_file() -> Self {
        Self { cas: vec![Ca::KeyFile { id: "ca", rsa: false }], ..Self::default() }
    }
}

/// A running server, with a DNS server and a responder that its validation asks.
pub struct Server {
    binary: PathBuf,
    pub folder: TempDir,
    pub token: Option<Token>,
    pub zone: Zone,
    pub responder: Responder,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// Goes into the program's environment.
    pub environment: Vec<(String, String)>,
    /// What stands before the name of the program: it must run it as the very process it is.
    pub within: Vec<String>,
    /// Kept for as long as the program may start again.
    _ports: [Port; 2],
    forgets_log: bool,
    process: Option<Running>,
}

struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
}

impl Server {
    /// Writes a configuration and starts the program; panics with what it said where it does not
    /// become ready.
    pub async fn start(binary: impl Into<PathBuf>, settings: Settings) -> Self {
        let mut server = Self::prepare(binary, settings).await;
        server.spawn();
        server
    }

    /// As [`Self::start`], but without starting.
    pub async fn prepare(binary: impl Into<PathBuf>, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let zone = Zone::start().await;
        let responder = Responder::start().await;
        let ports = [Port::reserve(), Port::reserve()];
        let [address, admin] = ports.each_ref().map(Port::address);
        let root = Issuer::root("test root", csr::p256());
        let mut trust = Vec::new();
        if settings.cas.iter().any(|ca| matches!(ca, Ca::KeyFile { .. })) {
            trust.extend(root.certificate.to_pem().unwrap());
        }
        let in_token = |ca: &Ca| matches!(ca, Ca::Token { .. });
        let token =
            settings.token.or_else(|| settings.cas.iter().any(in_token).then(Token::of_the_run));
        let mut text = format!(
            "[server]\nlisten = \"{address}\"\nadmin_listen = \"{admin}\"\n{}\n\n\
             [validation]\nresolvers = [\"{}\"]\nhttp_port = {}\ntls_alpn_port = {}\n{}\n\n\
             [log]\nformat = \"json\"\nlevel = \"info\"\n\n",
            settings.server,
            settings.resolver.unwrap_or(zone.address),
            settings.http_port.unwrap_or(responder.http_port),
            settings.tls_alpn_port.unwrap_or(responder.tls_port),
            settings.validation
        );
        text += &format!("[policy]\n{}\n\n", settings.policy);
        if let Some(url) = &settings.database_url {
            text += &format!("[database]\nurl = \"{url}\"\n\n");
        }
        if let Some(token) = &token {
            text += &token.section();
        }
        for ca in &settings.cas {
            text += &format!("[[ca]]\nid = \"{}\"\nname = \"{0}\"\n{}\n", ca.id(), settings.ca);
            text += &match (ca, &token) {
                (Ca::Token { id, key_type, cka_id }, Some(token)) => {
                    let hex = format!("{cka_id:02x}");
                    token.keygen(key_type, &hex);
                    let certificate = token.ca_certificate(&hex, id, &root);
                    trust.extend(fs::read(&certificate).unwrap());
                    format!("cert = \"{}\"\nhsm_slot = {cka_id}\n\n", certificate.display())
                }
                (Ca::Token { .. }, None) => unreachable!("a token is made where one is asked for"),
                (Ca::KeyFile { id, rsa }, _) => {
                    let issuing = root.below(id, if *rsa { csr::rsa(2048) } else { csr::p256() });
                    let (certificate, key) = issuing.write(folder.path(), id, &[&root]);
                    format!("cert = \"{}\"\nkey = \"{}\"\n\n", certificate.display(), key.display())
                }
            };
        }
        text += &settings.sections;
        fs::write(folder.path().join("kipuka.toml"), text).unwrap();
        fs::write(folder.path().join("root.pem"), trust).unwrap();
        Self {
            binary: binary.into(),
            folder,
            token,
            zone,
            responder,
            address,
            admin,
            within: Vec::new(),
            _ports: ports,
            environment: Vec::new(),
            forgets_log: settings.forgets_log,
            process: None,
        }
    }

    /// Has the very CAs of another server, whose files and token are used: as one of several instances.
    pub fn take_cas_of(&mut self, other: &Self) {
        let own = fs::read_to_string(self.config()).unwrap();
        let others = fs::read_to_string(other.config()).unwrap();
        let begin =
            |text: &str| text.find("[hsm]").or_else(|| text.find("[[ca]]")).unwrap_or(text.len());
        let text = format!("{}{}", &own[..begin(&own)], &others[begin(&others)..]);
        fs::write(self.config(), text).unwrap();
        fs::copy(other.root(), self.root()).unwrap();
    }

    /// The configuration that the program reads.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("kipuka.toml")
    }

    /// What clients trust: every root.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    pub fn roots(&self) -> Vec<X509> {
        X509::stack_from_pem(&fs::read(self.root()).unwrap()).unwrap()
    }

    pub fn directory(&self, ca: &str) -> String {
        format!("https://localhost:{}/acme/{ca}/directory", self.address.port())
    }

    /// Runs the program with this configuration and other arguments, to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = match (self.within.split_first(), &self.token) {
            (Some((first, rest)), _) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.binary);
                command
            }
            (None, Some(token)) => token.command(&self.binary),
            (None, None) => Command::new(&self.binary),
        };
        command.arg("--config").arg(self.config()).env("KIPUKA_HSM_PIN", PIN);
        command.env_remove("KIPUKA_LOG").env_remove("SOFTHSM2_CONF");
        // Of whoever runs the tests, as a service perhaps.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Starts the program, and waits until `/readyz` says that it is ready.
    pub fn spawn(&mut self) {
        self.launch();
        let begin = Instant::now();
        while self.admin_get("/readyz").is_none_or(|(status, _)| status != 200) {
            let ended = self.process.as_mut().unwrap().child.try_wait().unwrap();
            assert!(ended.is_none(), "kipuka ended with {ended:?}: {}", self.log());
            assert!(begin.elapsed() < START, "kipuka is not ready: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the program again, and waits for nothing.
    pub fn launch(&mut self) {
        let mut child =
            self.command().stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (mut pipe, sink) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&stderr));
        let forgets = self.forgets_log;
        thread::spawn(move || {
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                let mut log = sink.lock().unwrap();
                if forgets && log.len() > LOG_END {
                    log.clear();
                }
                log.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        self.process = Some(Running { child, stderr });
    }

    /// A GET to the admin listener: status and body; `None` where nobody listens.
    pub fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        plain_get(self.admin, path)
    }

    /// The CRL of a CA in PEM, as `listen` serves it; waits until it tells of this many certificates.
    pub async fn crl(&self, ca: &str, revoked: usize) -> String {
        let client = self.client(ca).await;
        let begin = Instant::now();
        loop {
            let answer = client.get(&format!("/crl/{ca}.crl")).await;
            if answer.status == 200 {
                assert_eq!(answer.header("content-type"), "application/pkix-crl");
                let crl = X509Crl::from_der(&answer.body).unwrap();
                if crl.get_revoked().map_or(0, |entries| entries.len()) == revoked {
                    return String::from_utf8(crl.to_pem().unwrap()).unwrap();
                }
            }
            assert!(begin.elapsed() < CRL, "no CRL with {revoked} entries: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that the program has said until now on stderr, in whole lines.
    pub fn log(&self) -> String {
        thread::sleep(LATEST_LINE);
        self.process
            .as_ref()
            .map_or_else(String::new, |running| running.stderr.lock().unwrap().clone())
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |running| running.child.id())
    }

    /// Whether the program has ended, by itself or by a signal.
    pub fn has_ended(&mut self) -> bool {
        let ended = |running: &mut Running| running.child.try_wait().unwrap().is_some();
        self.process.as_mut().is_none_or(ended)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.process.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        crate::command::run(
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]),
        );
    }

    /// Has the server read its configuration once more, and waits until it has.
    pub async fn reload(&self) {
        let reloads = || self.log().matches("\"reloaded\"").count();
        let before = reloads();
        self.signal("HUP");
        let begun = Instant::now();
        while reloads() == before {
            assert!(begun.elapsed().as_secs() < 20, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the program has written this; what else it wrote is shown where it does not come.
    pub async fn says(&self, message: &str) {
        let begun = Instant::now();
        while !self.log().contains(message) {
            assert!(begun.elapsed() < START, "{message} never came: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM; returns whether the program ended well, and what it wrote.
    pub fn terminate(&mut self) -> (bool, String) {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until the program has ended; returns whether it ended well, and what it wrote.
    pub fn ended(&mut self) -> (bool, String) {
        let mut running = self.process.take().unwrap();
        let status = running.child.wait().unwrap();
        thread::sleep(Duration::from_millis(50));
        let log = running.stderr.lock().unwrap().clone();
        (status.success(), log)
    }

    /// A client without an account.
    pub async fn client(&self, ca: &str) -> Client {
        self.client_with(ca, Key::new(Algorithm::Es256)).await
    }

    pub async fn client_with(&self, ca: &str, key: Key) -> Client {
        Client::new(self.address, ca, key, &self.roots(), &self.responder, &self.zone).await
    }

    /// A client that reaches the server by another way, such as a relay.
    pub async fn client_by(&self, address: SocketAddr, ca: &str) -> Client {
        let key = Key::new(Algorithm::Es256);
        Client::new(address, ca, key, &self.roots(), &self.responder, &self.zone).await
    }

    /// A client with an account.
    pub async fn account(&self, ca: &str) -> Client {
        let mut client = self.client(ca).await;
        client.register().await;
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- kipuka's log ---\n{}", self.log());
        }
        self.kill();
    }
}

/// A GET over plain HTTP/1.1: status and body; `None` where nobody listens.
pub fn plain_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Any request without a body over plain HTTP/1.1; `headers` are whole lines. `None` where nobody
/// listens.
pub fn plain_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> Option<Answer> {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, http::HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(Answer { status, headers, body: answer.split_off(end + 4).into() })
}
