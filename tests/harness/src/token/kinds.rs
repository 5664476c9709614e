//! Whose tokens there are, and how one of each comes about.

use std::fs;
use std::path::PathBuf;

use super::{Daemon, LABEL, LIBRARY, LOGIN, PIN, Token};
use crate::kryoptic;

/// A namespace in which one may mount, whoever one is.
const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

/// PKCS#11's own way to a token with a PIN.
const INIT: &str = "pkcs11-tool --module $MODULE --init-token --label kipuka --so-pin 12345678\n\
                    pkcs11-tool --module $MODULE --token-label kipuka --login --login-type so \
                    --so-pin 12345678 --init-pin --pin $PIN";

/// A library of a Debian package.
fn debian(name: &str) -> PathBuf {
    let path = PathBuf::from(format!("/usr/lib/{}-linux-gnu/{name}", std::env::consts::ARCH));
    assert!(path.exists(), "no {}; `tests/install.sh test` installs it", path.display());
    path
}

impl Token {
    pub fn softhsm() -> Self {
        let token = Self::empty_softhsm();
        token.shell(INIT);
        token
    }

    pub fn kryoptic() -> Self {
        let mut token = Self::of(kryoptic::library());
        let database = token.path().join("token.sql");
        let conf = format!(
            "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
            database.display()
        );
        fs::write(token.conf(), conf).unwrap();
        token.set("KRYOPTIC_CONF", token.conf().display().to_string());
        token.shell(INIT);
        token
    }

    /// tpm2-pkcs11 over a TPM in software. Between them stands a resource manager, as the kernel's
    /// does on a machine with a TPM: a TPM itself holds three keys at a time.
    pub fn tpm2() -> Self {
        let mut token = Self::of(debian("libtpm2_pkcs11.so.1"));
        let root = token.path().display().to_string();
        fs::create_dir(token.path().join("state")).unwrap();
        fs::create_dir(token.path().join("store")).unwrap();
        let script = format!(
            "swtpm socket --tpm2 --tpmstate dir={root}/state --server type=unixio,path={root}/tpm \
             --ctrl type=unixio,path={root}/tpm.ctrl --flags not-need-init,startup-clear \
             &>/dev/null &\n\
             dbus-daemon --config-file={root}/bus.conf --nofork &>/dev/null &\n\
             until [ -S {root}/tpm ] && [ -S {root}/bus ]; do sleep 0.01; done\n\
             export DBUS_SESSION_BUS_ADDRESS=unix:path={root}/bus"
        );
        let bus = format!(
            "<busconfig><type>session</type><listen>unix:path={root}/bus</listen>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>"
        );
        fs::write(token.path().join("bus.conf"), bus).unwrap();
        token.daemon = Some(Daemon::start(
            &[],
            &script,
            &["tpm2-abrmd", "--session", "--allow-root", &format!("--tcti=swtpm:path={root}/tpm")],
            &format!(
                "dbus-send --bus=unix:path={root}/bus --dest=org.freedesktop.DBus --print-reply \
                 / org.freedesktop.DBus.GetNameOwner string:com.intel.tss2.Tabrmd"
            ),
        ));
        token.set("TPM2_PKCS11_STORE", format!("{root}/store"));
        token.set("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session".to_owned());
        token.set("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={root}/bus"));
        // The library's own use of OpenSSL would end in the engine again.
        token.engine = false;
        token.shell(INIT);
        token
    }

    /// openCryptoki's token in software. All its paths are fixed, so that it lives in a mount
    /// namespace of its own, and its shared memory in an IPC namespace.
    pub fn opencryptoki() -> Self {
        let mut token = Self::of(debian("opencryptoki/libopencryptoki.so.0"));
        let root = token.path().display().to_string();
        for folder in ["etc", "lib/swtok/TOK_OBJ", "run/lock/opencryptoki/swtok"] {
            fs::create_dir_all(token.path().join(folder)).unwrap();
        }
        let conf = "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n";
        fs::write(token.path().join("etc/opencryptoki.conf"), conf).unwrap();
        // It gives its files to the group pkcs11, and its users must be in it.
        fs::write(token.path().join("group"), "root:x:0:\npkcs11:x:0:\n").unwrap();
        let mounts = format!(
            "mount --bind {root}/group /etc/group; mount --bind {root}/etc /etc/opencryptoki; \
             mount --bind {root}/lib /var/lib/opencryptoki; mount --bind {root}/run /run"
        );
        let daemon = Daemon::start(
            &[&UNSHARE[..], &["--ipc"]].concat(),
            &mounts,
            &["pkcsslotd", "-f"],
            &format!("test -S {root}/run/pkcsslotd.socket"),
        );
        token.within = ["nsenter", "--user", "--preserve-credentials", "--mount", "--ipc"]
            .map(str::to_owned)
            .to_vec();
        token.within.push(format!("--target={}", daemon.pid()));
        token.daemon = Some(daemon);
        // Its C_GetTokenInfo gives a time that is none, so that it is known by its slot alone.
        token.named = "slot = 3";
        // The officer's PIN that it is delivered with.
        token.shell(&INIT.replace("12345678", "87654321"));
        token
    }

    /// NSS's softokn. It wants parameters at C_Initialize, which p11-kit's proxy gives it; p11-kit's
    /// list of modules is the system's, so that it is replaced in a mount namespace.
    pub fn nss() -> Self {
        let token = Self::nss_without_pin();
        let at = |name: &str| token.path().join(name).display().to_string();
        let (database, old, new) = (at("database"), at("old"), at("new"));
        fs::write(&old, "\n").unwrap();
        fs::write(&new, format!("{PIN}\n")).unwrap();
        token.shell(&format!("certutil -W -d sql:{database} -f {old} -@ {new}"));
        Self { login: LOGIN, ..token }
    }

    /// As [`Self::nss`], but it needs no login.
    pub fn nss_without_pin() -> Self {
        let mut token = Self::of(debian("p11-kit-proxy.so"));
        let at = |name: &str| token.path().join(name).display().to_string();
        let (database, modules) = (at("database"), at("modules"));
        fs::create_dir(&database).unwrap();
        fs::create_dir(&modules).unwrap();
        let module = format!(
            "module: {}\nx-init-reserved: configdir='sql:{database}' certPrefix='' keyPrefix='' \
             secmod='secmod.db' flags='' dbTokenDescription='{LABEL}'\n",
            debian("libsoftokn3.so").display()
        );
        fs::write(format!("{modules}/nss.module"), module).unwrap();
        token.within = UNSHARE.map(str::to_owned).to_vec();
        token.within.extend(
            ["bash", "-c", "mount --bind \"$0\" /usr/share/p11-kit/modules; exec \"$@\"", &modules]
                .map(str::to_owned),
        );
        token.shell(&format!("certutil -N -d sql:{database} --empty-password"));
        token.login = "";
        token
    }

    /// SoftHSM2 behind a socket: `p11-kit server` has it, and p11-kit's client is the library.
    pub fn p11_kit() -> Self {
        let behind = Self::softhsm();
        let socket = behind.path().join("socket");
        let daemon = Daemon::start(
            &[],
            &format!("export SOFTHSM2_CONF={}", behind.conf().display()),
            &[
                "p11-kit",
                "server",
                "--foreground",
                "--provider",
                LIBRARY,
                "--name",
                &socket.display().to_string(),
                "pkcs11:token=kipuka",
            ],
            &format!("test -S {}", socket.display()),
        );
        let mut token = Self {
            library: debian("pkcs11/p11-kit-client.so"),
            environment: Vec::new(),
            daemon: Some(daemon),
            ..behind
        };
        token.set("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()));
        token
    }

    /// SoftHSM2 before any token is initialised.
    fn empty_softhsm() -> Self {
        let mut token = Self::of(LIBRARY.into());
        fs::create_dir(token.path().join("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}/tokens\n", token.path().display());
        fs::write(token.conf(), conf).unwrap();
        token.set("SOFTHSM2_CONF", token.conf().display().to_string());
        token
    }

    fn of(library: PathBuf) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            library,
            environment: Vec::new(),
            within: Vec::new(),
            named: "token_label = \"kipuka\"",
            login: LOGIN,
            engine: true,
            daemon: None,
        }
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.environment.push((name, value));
    }
}
