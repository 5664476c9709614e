//! Clients that want to be in the way of others.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Server, Settings};
use serde_json::json;
use tokio::task::JoinSet;

use crate::BINARY;

/// What a server has grown by at most that keeps so many connections, and nothing of what they sent.
const fn growth_kib(connections: u64) -> u64 {
    32 * 1024 + 128 * connections
}

fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn issues(client: &mut Client, name: &str) {
    let order = client.order(&[name]).await.prove("http-01").await;
    assert_eq!(order.finalize().await.len(), 2);
}

/// Many connections at once that send this and then wait for what comes; what came.
fn crowd(client: &Client, count: usize, request: &str, patience: Duration) -> JoinSet<Option<u16>> {
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        let (client, request) = (client.clone(), request.to_owned());
        crowd.spawn(
            async move { Some(client.send_bytes(request.as_bytes(), patience).await?.status) },
        );
    }
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_come_to_an_end_keep_nobody_else_waiting() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let before = resident_kib(&server);
    let patience = Duration::from_secs(25);
    let head = "POST /acme/ca/new-order HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let mut heads = crowd(&client, 100, head, patience);
    let body = "POST /acme/ca/new-order HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/jose+json\r\nContent-Length: 10000\r\n\r\n{";
    let mut bodies = crowd(&client, 100, body, patience);
    for name in ["a.test", "b.test", "c.test"] {
        issues(&mut client, name).await;
    }
    assert!(resident_kib(&server) < before + growth_kib(200));
    while let Some(answer) = bodies.join_next().await {
        assert_eq!(answer.unwrap(), Some(408));
    }
    while let Some(answer) = heads.join_next().await {
        assert!(answer.unwrap().is_none_or(|status| status == 408));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_in_nobodys_way() {
    // More by hand: `KIPUKA_TEST_CONNECTIONS=10000`, with as many file descriptors (`ulimit -n`) and patience.
    let count =
        std::env::var("KIPUKA_TEST_CONNECTIONS").map_or(400, |count| count.parse().unwrap());
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let before = resident_kib(&server);
    let get = "GET /acme/ca/directory HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut idle = crowd(&client, usize::try_from(count).unwrap(), get, Duration::from_secs(30));
    for name in ["a.test", "b.test"] {
        issues(&mut client, name).await;
    }
    assert!(resident_kib(&server) < before + growth_kib(count));
    // Each was answered, and closed once nothing more came.
    while let Some(answer) = idle.join_next().await {
        assert_eq!(answer.unwrap(), Some(200));
    }
}

#[tokio::test]
async fn floods_leave_nothing_behind_and_are_told_to_come_later() {
    let sections = "[limits]\nexempt_networks = []\naccounts_per_address_per_hour = 20\n\
                    pending_orders_per_account = 30\n"
        .to_owned();
    let server = Server::start(BINARY, Settings { sections, ..Settings::key_file() }).await;
    let mut client = server.account("ca").await;
    issues(&mut client, "known.test").await;
    let before = resident_kib(&server);
    let nonce = "HEAD /acme/ca/new-nonce HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1999)
        + "HEAD /acme/ca/new-nonce HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = client.send_bytes(nonce.as_bytes(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(answer.status, 200);
    let answers = answer.text().matches("Replay-Nonce: ").count();
    assert_eq!(answers, 1999, "one to each");
    let mut refused = 0;
    for _ in 0..25 {
        let mut other = server.client("ca").await;
        let answer = other.new_account(&json!({})).await;
        refused += u32::from(answer.status == 429);
    }
    assert_eq!(refused, 6, "this account is one of twenty");
    let mut refused = 0;
    for number in 0..40 {
        let answer = client.new_order(&[&format!("a{number}.test")]).await;
        refused += u32::from(answer.status == 429);
    }
    assert_eq!(refused, 10);
    assert!(resident_kib(&server) < before + growth_kib(1));
}

/// kipuka with no more file descriptors than so many.
fn with_descriptors(folder: &tempfile::TempDir, count: u32) -> PathBuf {
    let script = folder.path().join("kipuka");
    let mut file = fs::File::create(&script).unwrap();
    write!(file, "#!/bin/sh\nulimit -n {count}\nexec {BINARY} \"$@\"\n").unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[tokio::test]
async fn connections_leave_file_descriptors_for_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(with_descriptors(&folder, 128), Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let address = server.address;
    // More than there are places; those too many wait in the kernel's queue.
    let held: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(held);
    issues(&mut client, "a.test").await;
    assert!(server.log().contains("fewer connections than [limits] allows"), "{}", server.log());
}

#[tokio::test]
async fn a_server_whose_file_descriptors_are_used_up_goes_on_once_there_are_some() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    issues(&mut client, "a.test").await;
    let pid = server.pid().to_string();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let prlimit = |limit: String| {
        let run =
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}")]).output();
        assert!(run.unwrap().status.success(), "prlimit is a part of util-linux");
    };
    prlimit(format!("{}:", open + 3));
    let held: Vec<_> = (0..20).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let begin = Instant::now();
    while !server.log().contains("a connection could not be accepted") {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It does not spin: a line in the log for each try would be thousands.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tries = server.log().matches("a connection could not be accepted").count();
    assert!(tries < 40, "{tries} in a second");
    drop(held);
    prlimit("1024:".to_owned());
    issues(&mut client, "b.test").await;
}
