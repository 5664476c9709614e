//! A TPM 2.0 in software (swtpm) that certifies a key of its own.

use std::fs;
use std::process::{Child, Command, Stdio};

use openssl::pkey::{PKey, Public};
use tempfile::TempDir;

use super::{Cbor, Certification, Device, Statement};
use crate::command;

/// The handles of the key, and of the attestation key.
const KEYS: [u32; 2] = [0x8101_0001, 0x8101_0002];
const CERTIFY: u32 = 0x148;
/// TPM_ST_SESSIONS.
const WITH_SESSIONS: u16 = 0x8002;

/// Makes both keys. A TPM has room for three objects, so it is emptied after each step.
const MAKE: &str = "
exec >make.log 2>&1
set -ex
until [ -S tpm ]; do sleep 0.01; done
flush() { tpm2_flushcontext -t; }
make() {
    tpm2_create -Q -C primary.ctx -g sha256 -G $3 -u $1.pub -r $1.priv -a \"$fixed|$2\"; flush
    tpm2_load -Q -C primary.ctx -u $1.pub -r $1.priv -c $1.ctx; flush
    tpm2_readpublic -Q -c $1.ctx -f pem -o $1.pem; flush
    tpm2_evictcontrol -Q -C o -c $1.ctx $4; flush
}
fixed='fixedtpm|fixedparent|sensitivedataorigin|userwithauth'
tpm2_createprimary -Q -C o -g sha256 -G ecc -c primary.ctx; flush
make key sign ecc:ecdsa 0x81010001
make own 'restricted|sign' ecc:ecdsa-sha256:null 0x81010002
";

/// Runs until it is dropped.
pub struct SoftTpm {
    folder: TempDir,
    child: Child,
}

impl SoftTpm {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", "dir=state"])
            .args(["--server", "type=unixio,path=tpm", "--ctrl", "type=unixio,path=tpm.ctrl"])
            .args(["--flags", "not-need-init,startup-clear"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`tests/install.sh test` installs swtpm");
        let this = Self { folder, child };
        this.run("bash", &["-c", MAKE]);
        this
    }

    /// The public half of the key that it attests.
    pub fn key(&self) -> PKey<Public> {
        PKey::public_key_from_pem(&self.read("key.pem")).unwrap()
    }

    /// The statement that this device would make, by this TPM.
    pub fn attest(&self, device: &Device<'_>) -> Statement {
        let challenge = openssl::sha::sha256(device.key_authorization.as_bytes());
        let (certified, signature) = self.certify(&challenge);
        let own = PKey::public_key_from_pem(&self.read("own.pem")).unwrap();
        // A TPM2B_PUBLIC: its length comes first.
        let public = self.read("key.pub").split_off(2);
        device
            .tpm()
            .with("sig", Cbor::Bytes(signature))
            .with("certInfo", Cbor::Bytes(certified))
            .with("pubArea", Cbor::Bytes(public))
            .with("x5c", device.chain(&device.certificate(&own, &Certification::default())))
    }

    /// TPM2_Certify: a `TPMS_ATTEST`, and the `TPMT_SIGNATURE` over it.
    fn certify(&self, challenge: &[u8]) -> (Vec<u8>, Vec<u8>) {
        // Of an empty password, once for each key.
        let session = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let body = [
            &KEYS[0].to_be_bytes()[..],
            &KEYS[1].to_be_bytes(),
            &[0, 0, 0, 18],
            &session,
            &session,
            &super::tpm::sized(challenge),
            // The key's own scheme.
            &[0, 0x10],
        ]
        .concat();
        let length = u32::try_from(body.len() + 10).unwrap();
        let head =
            [&WITH_SESSIONS.to_be_bytes()[..], &length.to_be_bytes(), &CERTIFY.to_be_bytes()];
        fs::write(self.folder.path().join("command"), [&head.concat()[..], &body].concat())
            .unwrap();
        self.run("bash", &["-c", "tpm2_send -o response <command"]);
        let response = self.read("response");
        assert_eq!(response[6..10], [0; 4], "{response:02x?}");
        let number =
            |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let parameters = &response[14..][..number(&response[10..14])];
        let (length, rest) = parameters.split_at(2);
        let (certified, signature) = rest.split_at(number(length));
        (certified.to_vec(), signature.to_vec())
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(file)).unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        command::run(command.env("TPM2TOOLS_TCTI", "swtpm:path=tpm"));
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
