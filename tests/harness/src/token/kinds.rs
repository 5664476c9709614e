//! Whose tokens there are, and how one of each comes about.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::{Daemon, LABEL, LIBRARY, LOGIN, PIN, Token};
use crate::kryoptic;

/// A namespace in which one may mount, whoever one is.
const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

/// Where p11-kit's own modules are listed; the administrator's are in /etc/pkcs11/modules.
pub const P11_KIT_MODULES: &str = "/usr/share/p11-kit/modules";

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
    /// The token of a test that is about no token: SoftHSM2, or what the run of the tests names.
    ///
    /// # Panics
    /// Where `KIPUKA_TEST_TOKEN` names another.
    pub fn of_the_run() -> Self {
        match std::env::var("KIPUKA_TEST_TOKEN").as_deref() {
            Err(_) | Ok("softhsm") => Self::softhsm(),
            Ok("kryoptic") => Self::kryoptic(),
            Ok(other) => panic!("KIPUKA_TEST_TOKEN is softhsm or kryoptic, not {other}"),
        }
    }

    pub fn softhsm() -> Self {
        Self::empty_softhsm().initialised()
    }

    /// Before any token is initialised, as the other `empty_…`.
    pub fn empty_softhsm() -> Self {
        let mut token = Self::of(LIBRARY.into());
        fs::create_dir(token.path().join("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}/tokens\n", token.path().display());
        fs::write(token.conf(), conf).unwrap();
        token.set("SOFTHSM2_CONF", token.conf().display().to_string());
        token
    }

    pub fn kryoptic() -> Self {
        Self::empty_kryoptic().initialised()
    }

    pub fn empty_kryoptic() -> Self {
        let mut token = Self::of(kryoptic::library());
        let database = token.path().join("token.sql");
        let conf = format!(
            "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
            database.display()
        );
        fs::write(token.conf(), conf).unwrap();
        token.set("KRYOPTIC_CONF", token.conf().display().to_string());
        token
    }

    /// tpm2-pkcs11 over a TPM in software. Between them stands a resource manager, as the kernel's
    /// does on a machine with a TPM: a TPM itself holds three keys at a time.
    pub fn tpm2() -> Self {
        Self::empty_tpm2().initialised()
    }

    pub fn empty_tpm2() -> Self {
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
        token
    }

    /// openCryptoki's token in software. All its paths are fixed, shared memory's too, so that it
    /// lives in a mount namespace and an IPC namespace of its own.
    pub fn opencryptoki() -> Self {
        let token = Self::empty_opencryptoki();
        // The officer's PIN that it is delivered with.
        token.shell(&INIT.replace("12345678", "87654321"));
        token
    }

    pub fn empty_opencryptoki() -> Self {
        let mut token = Self::of(debian("opencryptoki/libopencryptoki.so.0"));
        let root = token.path().display().to_string();
        for folder in ["etc", "lib/swtok/TOK_OBJ", "run/lock/opencryptoki/swtok", "shm"] {
            fs::create_dir_all(token.path().join(folder)).unwrap();
        }
        let conf = "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n";
        fs::write(token.path().join("etc/opencryptoki.conf"), conf).unwrap();
        // It gives its files to the group pkcs11, and its users must be in it.
        fs::write(token.path().join("group"), "root:x:0:\npkcs11:x:0:\n").unwrap();
        let mounts = format!(
            "mount --bind {root}/group /etc/group; mount --bind {root}/etc /etc/opencryptoki; \
             mount --bind {root}/lib /var/lib/opencryptoki; mount --bind {root}/run /run; \
             mount --bind {root}/shm /dev/shm"
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
        token
    }

    /// NSS's softokn. It wants parameters at C_Initialize, which p11-kit's proxy gives it.
    pub fn nss() -> Self {
        let token = Self::empty_nss();
        let pin = token.path().join("pin").display().to_string();
        fs::write(&pin, PIN).unwrap();
        token.nss_database(&format!("-f {pin}"));
        token
    }

    /// As [`Self::nss`], but it needs no login.
    pub fn nss_without_pin() -> Self {
        let token = Self::empty_nss();
        token.nss_database("--empty-password");
        Self { login: "", ..token }
    }

    /// p11-kit's proxy in a mount namespace where its list of modules, which is the system's, is
    /// empty.
    pub fn empty_nss() -> Self {
        let mut token = Self::of(debian("p11-kit-proxy.so"));
        let modules = token.path().join("modules");
        fs::create_dir(&modules).unwrap();
        token.within = UNSHARE.map(str::to_owned).to_vec();
        let mount = format!("mount --bind \"$0\" {P11_KIT_MODULES}; exec \"$@\"");
        token
            .within
            .extend(["bash", "-c", &mount, &modules.display().to_string()].map(str::to_owned));
        token
    }

    fn nss_database(&self, password: &str) {
        self.shell(&format!(
            "mkdir {root}/database\n\
             certutil -N -d sql:{root}/database {password}\n\
             cat >{P11_KIT_MODULES}/nss.module <<CONF\n\
             module: {library}\n\
             x-init-reserved: configdir='sql:{root}/database' certPrefix='' keyPrefix='' \
             secmod='secmod.db' flags='' dbTokenDescription='{LABEL}'\n\
             CONF",
            root = self.path().display(),
            library = debian("libsoftokn3.so").display()
        ));
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
        token.wait_until_listening_is(true);
        token
    }

    /// Kills the program that the library talks to: the token of [`Self::p11_kit`] is then out of
    /// reach, as one in a network is. What it left behind stays, such as its socket.
    pub fn kill(&mut self) {
        self.daemon.as_mut().expect("a token with a program behind it").kill();
        self.wait_until_listening_is(false);
    }

    /// Starts that program again, at the same socket.
    pub fn restart(&mut self) {
        // p11-kit does not take the place of a socket that is there.
        let _ = fs::remove_file(self.path().join("socket"));
        self.daemon.as_mut().expect("a token with a program behind it").restart();
        self.wait_until_listening_is(true);
    }

    /// A socket is there a moment before it can be connected to, and a process that was killed a
    /// moment before its sockets are closed.
    fn wait_until_listening_is(&self, expected: bool) {
        let begin = Instant::now();
        while UnixStream::connect(self.path().join("socket")).is_ok() != expected {
            assert!(begin.elapsed() < Duration::from_secs(20), "listening is not {expected}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn initialised(self) -> Self {
        self.shell(INIT);
        self
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
            behind: None,
        }
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.environment.push((name, value));
    }
}
