//! What surrounds kipuka does what the tests believe it does.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::{Name, RData};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::database::PostgresDatabase;
use crate::server::plain_get;
use crate::token::PIN;
use crate::zone::{RecordType, ResponseCode};
use crate::{Database, Port, Responder, SoftToken, Token, Zone, command, kryoptic};

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

async fn ask(zone: &Zone, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&query(name, kind).to_vec().unwrap(), zone.address).await.unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn ask_over_tcp(zone: &Zone, name: &str, kind: RecordType) -> Message {
    let query = query(name, kind).to_vec().unwrap();
    let mut stream = TcpStream::connect(zone.address).await.unwrap();
    stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
    stream.write_all(&query).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

/// The answer's records as master files write them.
fn data(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn a_name_is_at_127_0_0_1_until_it_is_given_another_address() {
    let zone = Zone::start().await;
    assert_eq!(data(&ask(&zone, "a.test.", RecordType::A).await), ["127.0.0.1"]);
    assert!(data(&ask(&zone, "a.test.", RecordType::AAAA).await).is_empty());
    zone.add_address("a.test", "::1".parse().unwrap());
    assert_eq!(data(&ask(&zone, "A.test.", RecordType::AAAA).await), ["::1"]);
    assert!(data(&ask(&zone, "a.test.", RecordType::A).await).is_empty());
    zone.clear("a.test");
    assert_eq!(data(&ask(&zone, "a.test.", RecordType::A).await), ["127.0.0.1"]);
    assert_eq!(zone.asked().len(), 5);
    assert_eq!(zone.asked()[2], ("a.test".to_owned(), RecordType::AAAA));
}

#[tokio::test]
async fn an_alias_leads_to_the_records_of_its_target_and_a_circle_ends() {
    let zone = Zone::start().await;
    zone.add_cname("_acme-challenge.a.test", "b.test");
    zone.add_txt("b.test", "one");
    zone.add_txt("b.test", "two");
    let answer = ask(&zone, "_acme-challenge.a.test.", RecordType::TXT).await;
    assert_eq!(data(&answer), ["b.test.", "one", "two"]);
    zone.add_cname("c.test", "c.test");
    let circle = ask(&zone, "c.test.", RecordType::A).await;
    assert!(circle.answers.iter().all(|record| matches!(record.data, RData::CNAME(_))));
}

#[tokio::test]
async fn caa_records_and_response_codes_are_what_the_test_said() {
    let zone = Zone::start().await;
    zone.add_caa("a.test", true, "issue", "ca.test; accounturi=https://ca.test/1");
    let answer = ask(&zone, "a.test.", RecordType::CAA).await;
    let RData::CAA(caa) = &answer.answers[0].data else { panic!("{answer}") };
    assert_eq!((caa.issuer_critical, caa.tag.as_str()), (true, "issue"));
    assert_eq!(caa.value, b"ca.test; accounturi=https://ca.test/1");
    for code in [ResponseCode::NXDomain, ResponseCode::ServFail] {
        zone.set_response_code("b.test", code);
        let answer = ask(&zone, "b.test.", RecordType::A).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, 0));
    }
}

#[tokio::test]
async fn what_is_too_long_for_udp_comes_whole_over_tcp() {
    let zone = Zone::start().await;
    let long = "x".repeat(2000);
    zone.add_txt("a.test", &long);
    assert!(ask(&zone, "a.test.", RecordType::TXT).await.metadata.truncation);
    let answer = ask_over_tcp(&zone, "a.test.", RecordType::TXT).await;
    let RData::TXT(text) = &answer.answers[0].data else { panic!("{answer}") };
    assert_eq!(text.txt_data.concat(), long.as_bytes());
    assert!(text.txt_data.iter().all(|string| string.len() <= 255));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_responder_shows_a_key_authorization_over_http_until_it_is_hidden() {
    let responder = Responder::start().await;
    let address = SocketAddr::from(([127, 0, 0, 1], responder.http_port));
    let path = "/.well-known/acme-challenge/token";
    let shown = || plain_get(address, path).unwrap();
    assert_eq!(shown().0, 404);
    responder.show_http01("token", "token.thumbprint");
    assert_eq!(shown(), (200, "token.thumbprint".to_owned()));
    responder.hide_http01("token");
    assert_eq!(shown().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_responder_shows_a_key_authorization_over_tls_until_it_is_hidden() {
    let responder = Responder::start().await;
    responder.show_tls_alpn01("a.test", "token.thumbprint");
    let port = responder.tls_port;
    let (protocol, certificate) = tls_alpn("a.test", port).unwrap();
    assert_eq!(protocol, b"acme-tls/1");
    let names = certificate.subject_alt_names().unwrap();
    assert_eq!(names[0].dnsname(), Some("a.test"));
    let text = String::from_utf8(certificate.to_text().unwrap()).unwrap();
    assert!(text.contains("1.3.6.1.5.5.7.1.31: critical"), "{text}");
    assert!(tls_alpn("b.test", port).is_none());
    responder.hide_tls_alpn01("a.test");
    assert!(tls_alpn("a.test", port).is_none());
}

/// The protocol and the certificate of a server that is asked for a challenge.
fn tls_alpn(name: &str, port: u16) -> Option<(Vec<u8>, X509)> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(b"\x0aacme-tls/1").unwrap();
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let stream = connector.build().connect(name, stream).ok()?;
    let protocol = stream.ssl().selected_alpn_protocol()?.to_vec();
    Some((protocol, stream.ssl().peer_certificate()?))
}

#[test]
fn a_token_holds_keys_of_every_kind_and_signs_ca_certificates_with_them() {
    let token = SoftToken::new();
    let kinds = [("rsa:2048", "01"), ("EC:prime256v1", "03"), ("EC:secp384r1", "04")];
    for (key_type, id) in kinds {
        token.keygen(key_type, id);
        is_a_ca(&token.self_sign(id, "test CA"));
    }
    let other = SoftToken::new();
    assert_ne!(token.conf(), other.conf());
    other.keygen("rsa:4096", "02");
    is_a_ca(&other.self_sign("02", "test CA"));
}

#[test]
fn openssl_3_6_makes_and_verifies_a_chain_of_ml_dsa_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let mut openssl = kryoptic::openssl();
        command::run(openssl.args(line.split(' ')).current_dir(&folder))
    };
    for (name, above) in [("root", "-x509"), ("other", "-x509"), ("leaf", "-x509 -CA root.pem")] {
        run(&format!(
            "req -newkey ML-DSA-65 -nodes -keyout {name}-key.pem -out {name}.pem -subj /CN={name} \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
             {above}{}",
            if name == "leaf" { " -CAkey root-key.pem" } else { "" }
        ));
    }
    let at = |name: &str| folder.path().join(name);
    kryoptic::verify(&at("root.pem"), &at("leaf.pem")).unwrap();
    let refused = kryoptic::verify(&at("other.pem"), &at("leaf.pem")).unwrap_err();
    assert!(refused.contains("unable to get local issuer certificate"), "{refused}");
}

#[test]
fn a_token_behind_a_socket_is_out_of_reach_when_its_server_is_killed_until_it_is_started_again() {
    let mut token = Token::p11_kit();
    token.keygen("rsa:2048", "01");
    let sign = |token: &Token| {
        let mut sign = token.command("pkcs11-tool");
        sign.args(["--token-label", "kipuka", "--login", "--pin", PIN, "--sign", "--id", "01"]);
        sign.args(["--mechanism", "SHA256-RSA-PKCS", "--input-file", "/etc/hostname"]);
        sign.arg("--output-file").arg(token.path().join("signature"));
        sign.arg("--module").arg(token.library()).envs(token.environment().iter().cloned());
        command::output(&mut sign).status.success()
    };
    assert!(sign(&token));
    token.kill();
    assert!(!sign(&token));
    token.restart();
    assert!(sign(&token));
}

fn is_a_ca(certificate: &Path) {
    let pem = fs::read(certificate).unwrap();
    let certificate = X509::from_pem(&pem).unwrap();
    assert!(certificate.verify(&certificate.public_key().unwrap()).unwrap());
    assert!(certificate.subject_key_id().is_some());
    let text = String::from_utf8(certificate.to_text().unwrap()).unwrap();
    assert!(text.contains("CA:TRUE"), "{text}");
    assert!(text.contains("Certificate Sign, CRL Sign"), "{text}");
}

fn psql(database: &Database, statement: &str) -> String {
    command::run(Command::new("psql").args(["-qAt", &database.url(), "-c", statement]))
}

#[test]
fn each_postgres_database_is_new_and_goes_with_its_test() {
    let (one, other) = (Database::postgres(), Database::postgres());
    psql(&one, "CREATE TABLE a (b BIGINT)");
    assert_eq!(psql(&one, "SELECT count(*) FROM a"), "0\n");
    psql(&other, "CREATE TABLE a (b TEXT)");
    let name = psql(&one, "SELECT current_database()").trim().to_owned();
    let left =
        || psql(&other, &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"));
    assert_eq!(left(), "1\n");
    drop(one);
    assert_eq!(left(), "0\n");
}

#[test]
fn a_postgres_that_died_is_started_anew_and_one_that_nobody_uses_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    // The user postgres must get in.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let start = || Database::Postgres(PostgresDatabase::below(folder.path()));
    let pid_file = folder.path().join("data/postmaster.pid");
    let database = start();
    let pid = fs::read_to_string(&pid_file).unwrap();
    command::run(Command::new("kill").args(["-KILL", pid.lines().next().unwrap()]));
    let next = start();
    assert_eq!(psql(&next, "SELECT 1"), "1\n");
    drop(next);
    drop(database);
    let begin = Instant::now();
    while pid_file.exists() || folder.path().join("port").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the watcher does not stop it");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_reserved_port_is_given_to_nobody_else() {
    let ports: Vec<_> = (0..20).map(|_| Port::reserve()).collect();
    let numbers: std::collections::BTreeSet<_> = ports.iter().map(|port| port.number).collect();
    assert_eq!(numbers.len(), ports.len());
    for port in &ports {
        std::net::TcpListener::bind(port.address()).unwrap();
    }
}
