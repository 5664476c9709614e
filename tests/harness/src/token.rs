//! A SoftHSM2 token, filled by the very commands that the documentation gives.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command;

pub const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const LABEL: &str = "kipuka";
pub const PIN: &str = "1234";

/// A token of its own, in a folder that goes with it.
pub struct SoftToken {
    folder: TempDir,
}

impl SoftToken {
    /// Initialises a token called `kipuka` with the PIN 1234.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = Self { folder };
        fs::create_dir(token.path().join("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}/tokens\n", token.path().display());
        fs::write(token.conf(), conf).unwrap();
        token.shell(&format!(
            "pkcs11-tool --module {LIBRARY} --init-token --label {LABEL} --so-pin 12345678\n\
             pkcs11-tool --module {LIBRARY} --token-label {LABEL} --login --login-type so \
             --so-pin 12345678 --init-pin --pin {PIN}"
        ));
        token
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What `SOFTHSM2_CONF` must name.
    pub fn conf(&self) -> PathBuf {
        self.path().join("softhsm2.conf")
    }

    /// Makes a key pair: `key_type` as pkcs11-tool writes it (`rsa:2048`, `EC:prime256v1`), `id` in
    /// hex.
    pub fn keygen(&self, key_type: &str, id: &str) {
        self.shell(&format!(
            "pkcs11-tool --module {LIBRARY} --token-label {LABEL} --login --pin {PIN} \
             --keypairgen --key-type {key_type} --id {id} --label key-{id}"
        ));
    }

    /// Has a key sign a CA certificate of its own, as the founding document does it.
    pub fn self_sign(&self, id: &str, name: &str) -> PathBuf {
        let out = self.path().join(format!("ca-{id}.pem"));
        let openssl_conf = self.path().join("openssl.cnf");
        let conf = format!(
            "openssl_conf = openssl_init\n[openssl_init]\nengines = engines\n[engines]\n\
             pkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\nMODULE_PATH = {LIBRARY}\nPIN = {PIN}\n\
             init = 0\n[req]\ndistinguished_name = name\nx509_extensions = ca\n[name]\n[ca]\n\
             basicConstraints = critical, CA:TRUE\n\
             keyUsage = critical, digitalSignature, keyCertSign, cRLSign\n\
             subjectKeyIdentifier = hash\n"
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

    /// The `[hsm]` section for this token.
    pub fn section(&self) -> String {
        format!(
            "[hsm]\nlibrary = \"{LIBRARY}\"\ntoken_label = \"{LABEL}\"\npin_env = \"KIPUKA_HSM_PIN\"\n\n\
             [hsm.environment]\nSOFTHSM2_CONF = \"{}\"\n\n",
            self.conf().display()
        )
    }

    fn shell(&self, script: &str) {
        command::shell(script, &[("SOFTHSM2_CONF", &self.conf().to_string_lossy())]);
    }
}

impl Default for SoftToken {
    fn default() -> Self {
        Self::new()
    }
}
