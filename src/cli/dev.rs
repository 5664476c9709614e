//! `kipuka dev`: a whole CA in one directory, for trying out.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::files::{self, Existing};
use super::{Failure, environment, load, serve};
use crate::ca::{Lifetime, NewCa, prepare_ca};
use crate::clock::{Clock, Timestamp};
use crate::config::Needs;
use crate::entropy::Entropy;
use crate::signer::Signer;
use crate::signer::key_file::{self, KeyFile};
use crate::signer::pkcs11::keygen::{self, KeySpec};
use crate::signer::pkcs11::{Pkcs11Signer, Token, TokenOptions, init};
use crate::x509::chain::Chain;
use crate::x509::subject::{Subject, SubjectError};

/// Where distributions put SoftHSM2.
const SOFTHSM2: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const TOKEN_LABEL: &str = "kipuka-dev";
const ROOT: Key = Key { id: 1, name: "root" };
const ISSUING: Key = Key { id: 2, name: "issuing" };
/// From the port of ACME to that of the CRL.
const CRL_PORT_ABOVE: u16 = 80;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where everything is kept; what is there already is used again
    #[arg(long, value_name = "DIR", default_value = "./kipuka-dev")]
    dir: PathBuf,
    /// Where ACME is served [default: 127.0.0.1:14000]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where the CRL is served, by plain HTTP [default: 80 ports above --listen]
    #[arg(long, value_name = "ADDR:PORT")]
    crl_listen: Option<SocketAddr>,
    /// The port that http-01 asks [default: 5002]
    #[arg(long, value_name = "N")]
    http_port: Option<u16>,
    /// The port that tls-alpn-01 asks [default: 5001]
    #[arg(long, value_name = "N")]
    tls_alpn_port: Option<u16>,
    /// The resolver to ask [default: the system's]
    #[arg(long, value_name = "ADDR:PORT")]
    resolver: Option<SocketAddr>,
}

/// One of the two keys: a `CKA_ID` in the token, a name for its file where there is no token.
struct Key {
    id: u8,
    name: &'static str,
}

pub(super) fn dev(arguments: &Arguments) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("{}: {error}", arguments.dir.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&arguments.dir).map_err(failed)?;
    let dir = arguments.dir.canonicalize().map_err(failed)?;
    let config_file = dir.join("kipuka.toml");
    // Written last, so where it is everything else is, too.
    if !config_file.exists() {
        let keys = Keys::open(&dir)?;
        println!("Making a CA in {}", dir.display());
        super::runtime()?.block_on(make_certificates(&dir, &keys))?;
        write_new(&config_file, &config_text(arguments, &keys.hsm_section(&dir)), 0o600)?;
    } else if arguments.has_settings() {
        rewrite_settings(&config_file, arguments)?;
    }
    let (config, warnings) = load(Some(&config_file), Needs::Serve)?;
    let http_port = config.validation.http_port;
    serve::run(config, &warnings, |address| announce(&dir, address, http_port))
}

impl Arguments {
    fn has_settings(&self) -> bool {
        self.listen.is_some()
            || self.crl_listen.is_some()
            || self.http_port.is_some()
            || self.tls_alpn_port.is_some()
            || self.resolver.is_some()
    }
}

/// Where the CA's keys are.
enum Keys {
    Token { library: &'static str, token: Arc<Token> },
    Files { dir: PathBuf },
}

impl Keys {
    /// A token where SoftHSM2 is installed, else files.
    fn open(dir: &Path) -> Result<Self, Failure> {
        let Some(library) = SOFTHSM2.into_iter().find(|path| Path::new(path).exists()) else {
            println!(
                "SoftHSM2 is not installed, so the keys are plain files. With it (on Debian: apt-get \
                 install softhsm2) and another --dir they are made in a token."
            );
            return Ok(Self::Files { dir: dir.to_owned() });
        };
        let tokens = dir.join("tokens");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&tokens)
            .map_err(Failure::failed)?;
        let conf = softhsm2_conf(dir);
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(&conf, text).map_err(Failure::failed)?;
        environment::set([("SOFTHSM2_CONF", conf.to_string_lossy().as_ref())].into_iter())?;
        let pin = secret(&dir.join("hsm.pin"))?;
        let so_pin = secret(&dir.join("hsm.so-pin"))?;
        let library_path = Path::new(library);
        init::token(library_path, TOKEN_LABEL, &so_pin, &pin).map_err(Failure::failed)?;
        let token = Token::open(TokenOptions {
            library: library_path.to_owned(),
            token_label: Some(TOKEN_LABEL.to_owned()),
            pin: Some(pin),
            ..TokenOptions::default()
        })
        .map_err(Failure::failed)?;
        Ok(Self::Token { library, token })
    }

    /// Makes the key, or takes the one that an interrupted run has made.
    fn signer(&self, key: &Key) -> Result<Arc<dyn Signer>, Failure> {
        match self {
            Self::Token { token, .. } => {
                let id = [key.id];
                let present = token.keys().map_err(Failure::failed)?;
                let public_key = if present.iter().any(|other| other.id == id) {
                    token.public_key(&id).map_err(Failure::failed)?
                } else {
                    keygen::generate(token, KeySpec::EcP256, &id, key.name)
                        .map_err(Failure::failed)?
                };
                let signer = Pkcs11Signer::open(token, &id, None, &public_key);
                Ok(Arc::new(signer.map_err(Failure::failed)?))
            }
            Self::Files { dir } => {
                let path = key_path(dir, key);
                if !path.exists() {
                    key_file::generate(&path).map_err(Failure::failed)?;
                }
                Ok(Arc::new(KeyFile::open(&path, None, None).map_err(Failure::failed)?))
            }
        }
    }

    /// What kipuka.toml says of the keys: the `[hsm]` section, and the `[[ca]]`'s key.
    fn hsm_section(&self, dir: &Path) -> KeySettings {
        match self {
            Self::Token { library, .. } => KeySettings {
                hsm: format!(
                    "[hsm]\nlibrary = {library:?}\ntoken_label = {TOKEN_LABEL:?}\npin_file = \"hsm.pin\"\n\n\
                     [hsm.environment]\nSOFTHSM2_CONF = {:?}\n\n",
                    softhsm2_conf(dir)
                ),
                ca: format!("hsm_slot = {}", ISSUING.id),
            },
            Self::Files { dir } => KeySettings {
                hsm: String::new(),
                ca: format!("key = {:?}", key_path(dir, &ISSUING)),
            },
        }
    }
}

struct KeySettings {
    hsm: String,
    ca: String,
}

fn softhsm2_conf(dir: &Path) -> PathBuf {
    dir.join("softhsm2.conf")
}

fn key_path(dir: &Path, key: &Key) -> PathBuf {
    dir.join(format!("{}-key.pem", key.name))
}

/// A secret of 128 bits, drawn the first time and kept in a file that only its owner may read.
fn secret(path: &Path) -> Result<SecretString, Failure> {
    if !path.exists() {
        write_new(path, &Entropy.id().map_err(Failure::failed)?, 0o400)?;
    }
    let text = fs::read_to_string(path).map_err(Failure::failed)?;
    Ok(SecretString::from(text.trim_end().to_owned()))
}

/// Writes a file whole or not at all.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    files::write(path, text.as_bytes(), mode, Existing::Replace)
}

/// The root, and the issuing CA below it.
async fn make_certificates(dir: &Path, keys: &Keys) -> Result<(), Failure> {
    let root_signer = keys.signer(&ROOT)?;
    let issuing_signer = keys.signer(&ISSUING)?;
    let now = Clock::System.now();
    let root_file = dir.join("root.pem");
    let root = if root_file.exists() {
        let text = fs::read_to_string(&root_file).map_err(Failure::failed)?;
        Chain::from_pem(&text).map_err(Failure::failed)?
    } else {
        let new = NewCa {
            subject: &subject("CN=kipuka development root")?,
            public_key: root_signer.public_key(),
            key_identifier: None,
            issuer: None,
            path_len: Some(1),
            lifetime: Lifetime::For(DAY * 3650),
        };
        let root = create_ca(&new, root_signer.as_ref(), now).await?;
        write_new(&root_file, &root.to_file(), 0o644)?;
        root
    };
    let new = NewCa {
        subject: &subject("CN=kipuka development CA")?,
        public_key: issuing_signer.public_key(),
        key_identifier: None,
        issuer: Some(&root),
        path_len: Some(0),
        lifetime: Lifetime::For(DAY * 1825),
    };
    let chain = create_ca(&new, root_signer.as_ref(), now).await?;
    write_new(&dir.join("ca.pem"), &chain.to_file(), 0o644)
}

fn subject(text: &str) -> Result<Subject, Failure> {
    text.parse().map_err(|error: SubjectError| Failure::failed(error))
}

async fn create_ca(new: &NewCa<'_>, signer: &dyn Signer, now: Timestamp) -> Result<Chain, Failure> {
    let prepared = prepare_ca(new, signer.algorithm(), now, Entropy).map_err(Failure::failed)?;
    prepared.sign(signer).await.map_err(Failure::failed)
}

fn config_text(arguments: &Arguments, keys: &KeySettings) -> String {
    format!(
        "# Made by `kipuka dev`. Options given to a later `kipuka dev` are written here.\n\n\
         {}[database]\nurl = \"sqlite://kipuka.db\"\n\n{}\
         [[ca]]\nid = \"dev\"\nname = \"kipuka development CA\"\ncert = \"ca.pem\"\n{}\n\
         validity_days = 90\n\n[log]\nformat = \"text\"\nlevel = \"info\"\n",
        settings_text(arguments),
        keys.hsm,
        keys.ca,
    )
}

/// What the options set: everything up to the line that ends it.
fn settings_text(arguments: &Arguments) -> String {
    let listen = arguments.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 14000)));
    let crl_listen = arguments.crl_listen.unwrap_or_else(|| {
        // A free port has no neighbour that is known.
        let port = match listen.port() {
            0 => 0,
            port => port.checked_add(CRL_PORT_ABOVE).unwrap_or(port - CRL_PORT_ABOVE),
        };
        SocketAddr::new(listen.ip(), port)
    });
    let mut text = format!(
        "[server]\nlisten = \"{listen}\"\nhttp_listen = \"{crl_listen}\"\n{}\
         \n[validation]\nresolve_localhost = true\nhttp_port = {}\n\
         tls_alpn_port = {}\n",
        http_url_text(crl_listen),
        arguments.http_port.unwrap_or(5002),
        arguments.tls_alpn_port.unwrap_or(5001)
    );
    if let Some(resolver) = arguments.resolver {
        text.push_str(&format!("resolvers = [\"{resolver}\"]\n"));
    }
    text + SETTINGS_END
}

/// The base of the URLs in certificates: what listens on this machine alone is there by its own name.
fn http_url_text(crl_listen: SocketAddr) -> String {
    let host = match crl_listen.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    match crl_listen.port() {
        0 => String::new(),
        port => format!("http_url = \"http://{host}:{port}\"\n"),
    }
}

const SETTINGS_END: &str = "# end of the options\n\n";

/// Exchanges the part of the file that options set.
fn rewrite_settings(path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let text = fs::read_to_string(path).map_err(Failure::failed)?;
    let (Some(begin), Some(end)) = (text.find("[server]"), text.find(SETTINGS_END)) else {
        return Err(Failure::Failed(format!(
            "{} was changed by hand: set the options there, or leave them out here",
            path.display()
        )));
    };
    let rest = &text[end + SETTINGS_END.len()..];
    let changed = format!("{}{}{rest}", &text[..begin], settings_text(arguments));
    write_new(path, &changed, 0o600)
}

fn announce(dir: &Path, address: SocketAddr, http_port: u16) {
    let port = address.port();
    let dir = dir.display();
    println!(
        "\nDirectory:  https://localhost:{port}/acme/dev/directory\n\
         Trust:      {dir}/root.pem\n\n\
         A certificate for test.localhost, in another terminal on this machine:\n\n  \
         REQUESTS_CA_BUNDLE={dir}/root.pem certbot certonly --standalone --http-01-port {http_port} \\\n    \
         --server https://localhost:{port}/acme/dev/directory \\\n    \
         --config-dir {dir}/certbot --work-dir {dir}/certbot/work --logs-dir {dir}/certbot/logs \\\n    \
         --non-interactive --agree-tos --register-unsafely-without-email -d test.localhost\n\n\
         Stop with Ctrl-C.\n"
    );
    // A pipe would keep it back.
    let _ = io::stdout().flush();
}
