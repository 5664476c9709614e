//! Apache's mod_md, which gets and renews certificates for the domains in its configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use harness::{Port, Server, Settings};

use crate::site::Site;
use crate::{assert_short, kipuka, script, server_with_external_accounts, shown};

/// Writes `httpd.conf` for the domains, each behind what is said of it.
fn configure(server: &Server, ports: [&Port; 2], global: &str, domains: &[(&str, &str)]) {
    let [http, https] = ports;
    let folder = server.folder.path();
    // Where root starts it, the workers are another user's, and what they read and run is in here.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(shown(server).join("txt"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::copy(script("hooks/apache.sh"), folder.join("hook")).unwrap();
    let modules = ["mpm_event", "authz_core", "ssl", "md"];
    let mut text: String = modules
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    text += &format!(
        "ServerRoot {0}\nServerName localhost\nPidFile {0}/httpd.pid\nErrorLog /dev/stderr\n\
         LogLevel warn md:info\nUser nobody\nGroup nogroup\nListen 127.0.0.1:{1}\n\
         Listen 127.0.0.1:{2}\n\
         Protocols http/1.1 acme-tls/1\n\
         SSLSessionCache none\nMDPrivateKeys secp256r1\nMutex file:{0} default\n\
         MDStoreDir {0}/md\nMDPortMap http:{1} https:{2}\nMDCertificateAgreement accepted\n\
         MDContactEmail admin@example.test\nMDCertificateAuthority {3}\nMDCACertificateFile {4}\n\
         MDBaseServer off\nMDStapling off\nMDCheckInterval 1s\nMDRetryDelay 1s\nMDActivationDelay 0\n\
         MDRenewWindow 100d\n{5}\n",
        folder.display(),
        http.number,
        https.number,
        server.directory("ca"),
        server.root().display(),
        global
    );
    for (domain, settings) in domains {
        text += &format!(
            "<MDomain {domain}>\n{settings}\n</MDomain>\n\
             <VirtualHost *:{}>\nServerName {domain}\nSSLEngine on\n</VirtualHost>\n\
             <VirtualHost *:{}>\nServerName {domain}\n</VirtualHost>\n",
            https.number, http.number
        );
    }
    fs::write(folder.join("httpd.conf"), text).unwrap();
}

fn start(server: &Server, https: &Port) -> Site {
    let mut apache = Command::new("/usr/sbin/apache2");
    apache.arg("-f").arg(server.folder.path().join("httpd.conf")).arg("-DFOREGROUND");
    apache.env("SHOWN", shown(server));
    Site::start(server, https.number, &mut apache)
}

/// Puts to use what was fetched: a graceful restart, once it is there for every domain. It would
/// interrupt what is under way for others.
fn activate(server: &Server, domains: usize, site: &Site) {
    let staged = fs::read_dir(server.folder.path().join("md/staging")).into_iter().flatten();
    let is_ready = |domain: &fs::DirEntry| {
        let job = fs::read_to_string(domain.path().join("job.json")).unwrap_or_default();
        job.contains("\"finished\": true")
    };
    if staged.flatten().filter(is_ready).count() == domains {
        site.signal("USR1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mod_md_binds_its_account_issues_and_renews_with_every_type_of_challenge() {
    let [http, https] = [Port::reserve(), Port::reserve()];
    let settings = Settings {
        http_port: Some(http.number),
        tls_alpn_port: Some(https.number),
        ..Settings::default()
    };
    let (server, external) = server_with_external_accounts(settings).await;
    let bound = format!("MDExternalAccountBinding {} {}", external.kid, external.hmac_key);
    let hook = server.folder.path().join("hook");
    let dns = format!(
        "MDMember *.dns.example.test\nMDCAChallenges dns-01\nMDChallengeDns01 {}",
        hook.display()
    );
    let domains = [
        ("http.example.test", "MDProfile short\nMDCAChallenges http-01"),
        ("alpn.example.test", "MDCAChallenges tls-alpn-01"),
        ("dns.example.test", &dns),
    ];
    configure(&server, [&http, &https], &bound, &domains);
    let mut site = start(&server, &https);
    for (name, _) in domains {
        let first = site.certificate(name, None, |site| activate(&server, domains.len(), site));
        let renewed =
            site.certificate(name, Some(&first), |site| activate(&server, domains.len(), site));
        if name == "http.example.test" {
            assert_short(&first);
            assert_short(&renewed);
        }
    }
    // It names the certificate that it renews (RFC 9773 §5).
    assert!(kipuka(&server, &["order", "list", "--json"]).contains("\"replaces\""));
}
