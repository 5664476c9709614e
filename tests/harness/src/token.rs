//! Tokens, filled by the very commands that the documentation gives.

mod daemon;
mod faulty;
mod kinds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use tempfile::TempDir;

use crate::command;
use crate::issuer::Issuer;
use daemon::Daemon;
pub use faulty::Signature;
pub use kinds::P11_KIT_MODULES;

/// SoftHSM2's.
pub const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const LABEL: &str = "kipuka";
pub const PIN: &str = "1234";
const LOGIN: &str = "--login --pin $PIN";

/// A token called `kipuka` with the PIN 1234, in a folder that goes with it. Its constructors name
/// whose it is.
pub struct Token {
    folder: TempDir,
    library: PathBuf,
    /// What the library must find in its environment.
    environment: Vec<(&'static str, String)>,
    /// What stands before the name of a program that uses the library, where it lives in a
    /// namespace.
    within: Vec<String>,
    /// How `[hsm]` names the token.
    named: &'static str,
    /// pkcs11-tool's arguments for the login; empty where none is needed.
    login: &'static str,
    /// Whether OpenSSL's engine works with the library.
    engine: bool,
    daemon: Option<Daemon>,
    /// The library behind one that fails on command.
    behind: Option<PathBuf>,
}

/// What a test takes where it does not matter whose the token is: SoftHSM2.
pub type SoftToken = Token;

impl Token {
    /// SoftHSM2.
    pub fn new() -> Self {
        Self::softhsm()
    }

    /// Its CAs get certificates from the harness's root, which are older than the test.
    pub fn certified_long_ago(mut self) -> Self {
        self.engine = false;
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn library(&self) -> &Path {
        &self.library
    }

    /// The variables that the library reads.
    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// The file that SoftHSM2's and Kryoptic's variable names.
    pub fn conf(&self) -> PathBuf {
        self.path().join("token.conf")
    }

    /// A program as it runs where the library is used; without the environment, which kipuka gets
    /// from its configuration.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        match self.within.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program.as_ref());
                command
            }
            None => Command::new(program.as_ref()),
        }
    }

    /// Runs a shell script with the library's environment, `$MODULE` and `$PIN`.
    pub fn shell(&self, script: &str) -> String {
        let mut command = self.command("bash");
        command.args(["-euo", "pipefail", "-c", script]).envs(self.environment.iter().cloned());
        command.env("MODULE", &self.library).env("PIN", PIN);
        command::run(&mut command)
    }

    /// Makes a key pair: `key_type` as pkcs11-tool writes it (`rsa:2048`, `EC:prime256v1`), `id` in
    /// hex.
    pub fn keygen(&self, key_type: &str, id: &str) {
        self.shell(&format!(
            "pkcs11-tool --module $MODULE --token-label {LABEL} {} \
             --keypairgen --key-type {key_type} --id {id} --label key-{id}",
            self.login
        ));
    }

    /// Has a key sign a CA certificate of its own, as the founding document does it.
    pub fn self_sign(&self, id: &str, name: &str) -> PathBuf {
        let out = self.path().join(format!("ca-{id}.pem"));
        let openssl_conf = self.path().join("openssl.cnf");
        let conf = format!(
            "openssl_conf = openssl_init\n[openssl_init]\nengines = engines\n[engines]\n\
             pkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\nMODULE_PATH = {}\nPIN = {PIN}\n\
             init = 0\n[req]\ndistinguished_name = name\nx509_extensions = ca\n[name]\n[ca]\n\
             basicConstraints = critical, CA:TRUE\n\
             keyUsage = critical, digitalSignature, keyCertSign, cRLSign\n\
             subjectKeyIdentifier = hash\n",
            self.library.display()
        );
        fs::write(&openssl_conf, conf).unwrap();
        self.shell(&format!(
            "OPENSSL_CONF={} openssl req -new -x509 -engine pkcs11 -keyform engine \
             -key 'pkcs11:token={LABEL};id=%{id};type=private' -out {} -days 3650 -subj '/CN={name}'",
            openssl_conf.display(),
            out.display()
        ));
        out
    }

    /// Has `root` sign a CA certificate for a key; the file holds both.
    pub fn certify(&self, id: &str, name: &str, root: &Issuer) -> PathBuf {
        let out = self.path().join(format!("ca-{id}.pem"));
        let key = self.public_key(id);
        let mut pem = root.certify(name, &key).to_pem().unwrap();
        pem.extend(root.certificate.to_pem().unwrap());
        fs::write(&out, pem).unwrap();
        out
    }

    fn public_key(&self, id: &str) -> PKey<Public> {
        let tool = format!("pkcs11-tool --module $MODULE --token-label {LABEL} {}", self.login);
        let listed = self.shell(&format!("{tool} --list-objects --type pubkey"));
        let mut keys = listed.split("Public Key Object;");
        let line = format!("ID:         {id}\n");
        let shown = keys.find(|key| key.contains(&line)).unwrap();
        // OpenSC 0.23 writes no P-384 key to a file, but prints it.
        let Some((_, point)) = shown.split_once("EC_POINT:") else {
            let file = self.path().join("key.der");
            let read = "--read-object --type pubkey --output-file";
            self.shell(&format!("{tool} {read} {} --id {id}", file.display()));
            return PKey::public_key_from_der(&fs::read(file).unwrap()).unwrap();
        };
        let (curve, length) = match shown {
            _ if shown.contains("EC_EDWARDS") => (None, 32),
            _ if shown.contains("EC_POINT 528 bits") => (Some(Nid::SECP521R1), 133),
            _ if shown.contains("EC_POINT 384 bits") => (Some(Nid::SECP384R1), 97),
            _ => (Some(Nid::X9_62_PRIME256V1), 65),
        };
        // What stands before the point itself is the head of an OCTET STRING.
        let point = point.trim_start().lines().next().unwrap();
        let point = BigNum::from_hex_str(&point[point.len() - 2 * length..]).unwrap();
        let point = point.to_vec_padded(i32::try_from(length).unwrap()).unwrap();
        let Some(curve) = curve else {
            return PKey::public_key_from_raw_bytes(&point, Id::ED25519).unwrap();
        };
        let group = EcGroup::from_curve_name(curve).unwrap();
        let mut context = BigNumContext::new().unwrap();
        let point = EcPoint::from_bytes(&group, &point, &mut context).unwrap();
        PKey::from_ec_key(EcKey::from_public_key(&group, &point).unwrap()).unwrap()
    }

    /// A CA certificate for a key: its own where OpenSSL can make the token sign one.
    pub fn ca_certificate(&self, id: &str, name: &str, root: &Issuer) -> PathBuf {
        match self.engine {
            true => self.self_sign(id, name),
            false => self.certify(id, name, root),
        }
    }

    /// The `[hsm]` section for this token.
    pub fn section(&self) -> String {
        let pin = if self.login.is_empty() { "" } else { "pin_env = \"KIPUKA_HSM_PIN\"\n" };
        let library = self.library.display();
        let mut text = format!("[hsm]\nlibrary = \"{library}\"\n{}\n{pin}\n", self.named);
        if !self.environment.is_empty() {
            text += "[hsm.environment]\n";
            for (name, value) in &self.environment {
                text += &format!("{name} = \"{value}\"\n");
            }
            text += "\n";
        }
        text
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}
