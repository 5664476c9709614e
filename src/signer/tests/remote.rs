//! A token behind a socket, as network HSMs are: `p11-kit server` in front of it, killed and started
//! again.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{library, make_token, options, token_tests};
use super::suite::runtime;
use crate::signer::pkcs11::keygen::{self, KeySpec};
use crate::signer::pkcs11::{Pkcs11Signer, Token, TokenOptions};
use crate::signer::{Health, Signer};

const CLIENTS: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so"];

/// A running `p11-kit server`, killed with this value.
struct Server(Child);

impl Server {
    /// Serves the token "kipuka" at the socket that the environment of this process names.
    fn start() -> Self {
        let address = std::env::var("P11_KIT_SERVER_ADDRESS").unwrap();
        let socket = address.strip_prefix("unix:path=").unwrap();
        let _ = std::fs::remove_file(socket);
        let server = Command::new("p11-kit")
            .args(["server", "--foreground", "--name", socket, "--provider"])
            .arg(library())
            .arg("pkcs11:token=kipuka")
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("p11-kit is not installed, and this test needs it: `apt-get install p11-kit`");
        let started = Instant::now();
        while !Path::new(socket).exists() {
            assert!(started.elapsed() < Duration::from_secs(5), "p11-kit server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The whole group: each connection has a process of its own.
        let group = format!("-{}", self.0.id());
        Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
        self.0.wait().unwrap();
    }
}

fn remote() -> TokenOptions {
    let client = CLIENTS.iter().map(Path::new).find(|path| path.exists()).expect(
        "p11-kit's client module is not installed, and this test needs it: `apt-get install \
         p11-kit-modules`",
    );
    TokenOptions { library: client.to_owned(), ..options("kipuka") }
}

token_tests! {
    fn a_token_behind_a_socket_is_killed_and_comes_back() {
        make_token("kipuka");
        let mut server = Some(Server::start());
        let token = Token::open(remote()).unwrap();
        let key = keygen::generate(&token, KeySpec::EcP256, &[1], "ca").unwrap();
        let signer = Arc::new(Pkcs11Signer::open(&token, &[1], None, &key).unwrap());
        runtime().block_on(async {
            for turn in 0..3_u8 {
                signer.sign(vec![turn]).await.unwrap();
                drop(server.take());
                let dead = signer.sign(vec![turn]).await.unwrap_err();
                assert!(matches!(signer.health(), Health::Down(_)), "{dead}");
                tokio::time::sleep(Duration::from_millis(500 * u64::from(turn))).await;
                server = Some(Server::start());
                let back = Instant::now();
                while signer.health() != Health::Up {
                    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", signer.health());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            signer.sign(b"message".to_vec()).await.unwrap();
        });
    }
}
