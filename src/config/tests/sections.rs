//! `[server]`, `[database]`, `[hsm]`, `[validation]`, `[log]`.

use secrecy::ExposeSecret as _;
use std::time::Duration;

use super::*;

#[test]
fn an_empty_file_is_all_defaults() {
    let config = good("");
    assert_eq!(config.server.listen, "0.0.0.0:8443".parse().unwrap());
    assert_eq!((config.server.http_listen, config.server.admin_listen), (None, None));
    assert_eq!(config.database.url.expose_secret(), "sqlite:///etc/kipuka/kipuka.db");
    assert!(config.hsms.is_empty() && config.cas.is_empty());
    // RFC 8555 §8.3, RFC 8737 §3.
    assert_eq!((config.validation.http_port, config.validation.tls_alpn_port), (80, 443));
    assert_eq!(config.log, Log::default());
}

#[test]
fn the_external_url_is_https_a_host_and_a_port() {
    let url = |url: &str| format!("[server]\nexternal_url = \"{url}\"\n");
    let read = |text: &str| good(&url(text)).server.external_url.unwrap();
    assert_eq!(read("https://ca.test:8443/"), "https://ca.test:8443");
    assert_eq!(read("https://CA.test:443"), "https://ca.test");
    assert_eq!(read("https://[::1]:8443"), "https://[::1]:8443");
    for (text, said) in [
        ("http://ca.test", "not an https URL"),
        ("https://ca.test/acme", "a path or a query"),
        ("https://ca.test/?a", "a path or a query"),
        ("https://ca.test/#a", "a path or a query"),
        ("https://user:zq@ca.test", "has a user name"),
        ("ca.test:8443", "not an https URL"),
        ("ca.test", "not understood"),
    ] {
        assert_wrong(&url(text), 2, "server.external_url", said);
    }
}

#[test]
fn the_urls_in_certificates_are_plain_http_and_follow_from_where_it_listens() {
    let server = |lines: &str| format!("[server]\n{lines}\n");
    let read = |lines: &str| good(&server(lines)).server.http_url;
    let (listen, external) =
        ("http_listen = \"0.0.0.0:8080\"\n", "external_url = \"https://ca.test:8443\"\n");
    assert_eq!(read(""), None);
    assert_eq!(read(listen), None, "under which name?");
    assert_eq!(read(external), None, "at which port?");
    assert_eq!(read(&format!("{listen}{external}")).as_deref(), Some("http://ca.test:8080"));
    let port_80 = format!("http_listen = \"0.0.0.0:80\"\n{external}");
    assert_eq!(read(&port_80).as_deref(), Some("http://ca.test"));
    assert_eq!(read(&format!("http_listen = \"0.0.0.0:0\"\n{external}")), None);
    let v6 = "http_listen = \"[::]:8080\"\nexternal_url = \"https://[::1]:8443\"";
    assert_eq!(read(v6).as_deref(), Some("http://[::1]:8080"));
    let set = format!("http_url = \"http://CRL.test/\"\n{listen}{external}");
    assert_eq!(read(&set).as_deref(), Some("http://crl.test"));
    for (url, said) in [
        ("https://ca.test", "is not an http URL"),
        ("http://ca.test/crl", "a path or a query"),
        ("http://user:zq@ca.test", "has a user name"),
        ("ca.test", "not understood"),
    ] {
        assert_wrong(&server(&format!("http_url = \"{url}\"")), 2, "server.http_url", said);
    }
}

#[test]
fn a_tls_certificate_and_its_key_come_together() {
    let cert = "[server]\ntls_cert = \"a.pem\"\n";
    assert_wrong(cert, 2, "server.tls_cert", "is set without tls_key");
    let key = "[server]\ntls_key = \"a.pem\"\n";
    assert_wrong(key, 2, "server.tls_key", "is set without tls_cert");
}

#[test]
fn each_listener_has_a_port_of_its_own() {
    let text = |listen: &str, admin: &str| {
        format!("[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin}\"\n")
    };
    let twice = text("0.0.0.0:8443", "127.0.0.1:8443");
    assert_wrong(&twice, 3, "server.admin_listen", "another listener");
    for (listen, admin) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:8443", "127.0.0.2:8443"),
        ("127.0.0.1:8443", "[::1]:8443"),
    ] {
        good(&text(listen, admin));
    }
}

#[test]
fn a_slot_is_a_number_or_text_as_pkcs11_tool_prints_it() {
    let text = |slot: &str| format!("[hsm]\nlibrary = \"t.so\"\nslot = {slot}\n");
    for slot in ["0x1d6d28f6", "493693174", "\"0x1d6d28f6\"", "\"493693174\"", "\"0X1D6D28F6\""] {
        assert_eq!(good(&text(slot)).hsms.remove(0).slot, Some(493_693_174), "{slot}");
    }
    for slot in ["\"kipuka\"", "\"0x\"", "\"+1\"", "-1", "\"0x+1\""] {
        let (places, _) = wrong(&text(slot));
        assert_eq!(places, [(3, "hsm.slot".to_owned())], "{slot}");
    }
}

#[test]
fn slot_and_label_may_both_be_given_and_one_must_be() {
    let hsm = good("[hsm]\nlibrary = \"t.so\"\nslot = 1\ntoken_label = \"t\"\n").hsms.remove(0);
    assert_eq!((hsm.slot, hsm.token_label.as_deref()), (Some(1), Some("t")));
    assert_wrong("[hsm]\nlibrary = \"t.so\"\n", 1, "hsm.token_label", "neither token_label nor");
    assert_wrong("[hsm]\nslot = 1\n", 1, "hsm.library", "is missing");
    let long = format!("[hsm]\nlibrary = \"t.so\"\ntoken_label = \"{}\"\n", "x".repeat(33));
    assert_wrong(&long, 3, "hsm.token_label", "32 bytes");
}

#[test]
fn the_library_gets_its_limits_and_its_environment() {
    let text = "[hsm]\nlibrary = \"lib/t.so\"\nslot = 1\nmax_sessions = 1024\nsign_deadline_s = 4
[hsm.environment]\nSOFTHSM2_CONF = \"/etc/softhsm2.conf\"\n";
    let hsm = good(text).hsms.remove(0);
    assert_eq!(hsm.library, Path::new("/etc/kipuka/lib/t.so"));
    assert_eq!(hsm.max_sessions, Some(1024));
    assert_eq!(hsm.sign_deadline, Some(Duration::from_secs(4)));
    assert_eq!(hsm.environment["SOFTHSM2_CONF"], "/etc/softhsm2.conf");
    assert_wrong(&text.replace("1024", "1025"), 4, "hsm.max_sessions", "from 1 to 1024");
    let number = text.replace("\"/etc/softhsm2.conf\"", "3");
    assert_wrong(&number, 7, "hsm.environment.SOFTHSM2_CONF", "in quotes");
    let name = text.replace("SOFTHSM2_CONF", "\"A=B\"");
    assert_wrong(&name, 7, "hsm.environment.A=B", "not the name of an environment variable");
}

#[test]
fn a_database_is_a_sqlite_file_or_postgres() {
    let text = |url: &str| format!("[database]\nurl = \"{url}\"\nmax_connections = 3\n");
    for (given, url, shown) in [
        ("sqlite://a.db", "sqlite:///etc/kipuka/a.db", "SQLite /etc/kipuka/a.db"),
        ("sqlite:///var/a.db", "sqlite:///var/a.db", "SQLite /var/a.db"),
        ("postgres://k@db/k", "postgres://k@db/k", "Postgres k@db/k"),
        (
            "postgresql://k:zq@db:5433/k?password=zq",
            "postgresql://k:zq@db:5433/k?password=zq",
            "Postgres k@db:5433/k",
        ),
    ] {
        let config = good(&text(given));
        assert_eq!(config.database.url.expose_secret(), url);
        assert_eq!(config.database.describe(), shown);
        assert_eq!(config.database.max_connections, 3);
        assert!(!format!("{config:?}").contains("zq"), "the password");
    }
    for url in [
        "mysql://k:zq@db/k",
        "zq",
        "sqlite:zq.db",
        "sqlite://",
        "sqlite://:memory:",
        "sqlite://a.db?zq=1",
        "postgres//k:zq@db",
    ] {
        let (places, said) = wrong(&text(url));
        assert_eq!(places, [(2, "database.url".to_owned())], "{url}");
        assert!(!said.contains("zq"), "{said}");
    }
}

#[test]
fn validation_takes_addresses_ports_and_networks() {
    let config = good(
        "[validation]
resolvers = [\"127.0.0.1:8053\", \"192.0.2.53\", \"::1\", \"[::1]:54\"]
http_port = 5002
https_port = 5003
tls_alpn_port = 5001
denied_networks = [\"10.1.2.3/8\", \"192.0.2.1\", \"fd00::/8\"]
resolve_localhost = true
timeout_s = 2
attempts = 1
",
    );
    let validation = config.validation;
    let resolvers: Vec<String> = validation.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(resolvers, ["127.0.0.1:8053", "192.0.2.53:53", "[::1]:53", "[::1]:54"]);
    let denied: Vec<String> = validation.denied_networks.iter().map(ToString::to_string).collect();
    assert_eq!(denied, ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
    assert_eq!((validation.http_port, validation.https_port), (5002, 5003));
    assert_eq!((validation.timeout, validation.attempts), (Duration::from_secs(2), 1));
    assert!(validation.resolve_localhost);

    let networks = "[validation]\ndenied_networks = [\n\"10.0.0.0/33\"]\nhttp_port = 65536\n";
    let (places, _) = wrong(networks);
    assert_eq!(places.iter().map(|place| place.0).collect::<Vec<_>>(), [3, 4]);
    let resolver = "[validation]\nresolvers = [\"dns.test\"]\n";
    assert_wrong(resolver, 2, "validation.resolvers", "not the address of a DNS server");
}

#[test]
fn the_log_has_a_format_and_a_level() {
    let log = good("[log]\nformat = \"json\"\nlevel = \"info,kipuka::store=debug\"\n").log;
    assert_eq!(log.format, LogFormat::Json);
    assert_wrong("[log]\nformat = \"xml\"\n", 2, "log.format", "\"text\" or \"json\"");
    assert_wrong("[log]\nlevel = \"kipuka=loud\"\n", 2, "log.level", "is no level");
}

#[test]
fn several_tokens_have_names_of_their_own_and_one_environment() {
    let token = |lines: &str| format!("[[hsm]]\nlibrary = \"t.so\"\nslot = 0\n{lines}\n");
    assert_eq!(good(&token("")).hsms[0].name, "hsm");
    let (places, message) = wrong(&format!("{}{}", token(""), token("name = \"b\"")));
    assert_eq!(places, [(1, "hsm.name".to_owned())], "{message}");
    for (first, second, key, said) in [
        ("name = \"a\"", "name = \"a\"", "hsm.name", "on line 1"),
        ("name = \"a\"", "name = \"B b\"", "hsm.name", "a to z"),
        (
            "name = \"a\"\nenvironment = { X = \"1\" }",
            "name = \"b\"\nenvironment = { X = \"2\" }",
            "hsm.environment",
            "X has another value in the [[hsm]] `a`",
        ),
    ] {
        let (places, message) = wrong(&format!("{}{}", token(first), token(second)));
        assert_eq!(places.len(), 1, "{message}");
        assert_eq!(places[0].1, key);
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn idle_sessions_are_used_every_15_s_unless_the_file_says_otherwise() {
    let keepalive = |line: &str| {
        good(&format!("[hsm]\nlibrary = \"t.so\"\nslot = 0\n{line}\n")).hsms.remove(0).keepalive
    };
    assert_eq!(keepalive(""), Some(Duration::from_secs(15)));
    assert_eq!(keepalive("keepalive_s = 60"), Some(Duration::from_secs(60)));
    assert_eq!(keepalive("keepalive_s = 0"), None);
}
