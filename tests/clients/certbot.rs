//! certbot: Debian's, and the newest.

use harness::{Port, Server, Settings};

use crate::{
    assert_revoked, assert_short, kipuka, leaf, package, run, script, server_with,
    server_with_external_accounts,
};

/// How to call a certbot.
struct Certbot(String);

impl Certbot {
    fn debians() -> Self {
        Self("certbot".to_owned())
    }

    fn newest() -> Self {
        Self(format!("{} {}", package("certbot/bin/python"), package("certbot/bin/certbot")))
    }

    fn run(&self, server: &Server, command: &str) -> String {
        let folders = "--config-dir $FOLDER/certbot --work-dir $FOLDER/certbot/work \
                       --logs-dir $FOLDER/certbot/logs";
        let trust = "REQUESTS_CA_BUNDLE=$ROOT";
        run(server, &format!("{trust} {} {command} -n --server $DIRECTORY {folders}", self.0))
    }

    async fn registers_issues_renews_revokes_and_unregisters_with_http_01(&self) {
        let port = Port::reserve();
        let settings = Settings { http_port: Some(port.number), ..Settings::default() };
        let server = server_with(settings).await;
        let standalone = format!("--standalone --http-01-port {}", port.number);
        self.run(&server, "register --agree-tos --email admin@example.test");
        let names = "-d www.example.test -d a.www.example.test";
        self.run(&server, &format!("certonly {standalone} {names}"));
        let names = ["www.example.test", "a.www.example.test"];
        let first = leaf(&server, "certbot/live/www.example.test/fullchain.pem", &names);
        self.run(&server, "renew --force-renewal --no-random-sleep-on-renew");
        let renewed = leaf(&server, "certbot/live/www.example.test/fullchain.pem", &names);
        assert_ne!(
            first.serial_number().to_bn().unwrap(),
            renewed.serial_number().to_bn().unwrap()
        );
        let rsa = "--key-type rsa --rsa-key-size 2048 --cert-name rsa -d rsa.example.test";
        self.run(&server, &format!("certonly {standalone} {rsa}"));
        let rsa = leaf(&server, "certbot/live/rsa/fullchain.pem", &["rsa.example.test"]);
        assert_eq!(rsa.public_key().unwrap().rsa().unwrap().size(), 256);
        let by_account = "--cert-name www.example.test --reason superseded";
        let live = "$FOLDER/certbot/live/rsa";
        let by_key = format!("--cert-path {live}/cert.pem --key-path {live}/privkey.pem");
        for which in [by_account, &by_key] {
            self.run(&server, &format!("revoke {which} --no-delete-after-revoke"));
        }
        assert_revoked(&server, &[&renewed, &rsa]).await;
        self.run(&server, "update_account --email other@example.test");
        self.run(&server, "unregister");
    }

    async fn binds_its_account_and_gets_a_wildcard_with_dns_01(&self) {
        let (server, external) = server_with_external_accounts(Settings::default()).await;
        let hook = script("hooks/certbot.sh");
        self.run(
            &server,
            &format!(
                "certonly --manual --preferred-challenges dns --manual-auth-hook {hook} \
                 --eab-kid {} --eab-hmac-key {} --agree-tos --register-unsafely-without-email \
                 -d example.test -d '*.example.test'",
                external.kid, external.hmac_key
            ),
        );
        let names = ["example.test", "*.example.test"];
        leaf(&server, "certbot/live/example.test/fullchain.pem", &names);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_certbot_registers_issues_renews_revokes_and_unregisters_with_http_01() {
    Certbot::debians().registers_issues_renews_revokes_and_unregisters_with_http_01().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_certbot_registers_issues_renews_revokes_and_unregisters_with_http_01() {
    Certbot::newest().registers_issues_renews_revokes_and_unregisters_with_http_01().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_certbot_binds_its_account_and_gets_a_wildcard_with_dns_01() {
    Certbot::debians().binds_its_account_and_gets_a_wildcard_with_dns_01().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_certbot_binds_its_account_and_gets_a_wildcard_with_dns_01() {
    Certbot::newest().binds_its_account_and_gets_a_wildcard_with_dns_01().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_certbot_certifies_an_address_by_a_profile_and_renews_when_it_is_told_to() {
    let port = Port::reserve();
    let settings = Settings { http_port: Some(port.number), ..Settings::default() };
    let (server, external) = server_with_external_accounts(settings).await;
    let certbot = Certbot::newest();
    let standalone = format!("certonly --standalone --http-01-port {}", port.number);
    let account = format!(
        "--agree-tos --register-unsafely-without-email --eab-kid {} --eab-hmac-key {}",
        external.kid, external.hmac_key
    );
    let what = "-d www.example.test --ip-address 127.0.0.1 --preferred-profile short";
    certbot.run(&server, &format!("{standalone} {account} {what}"));
    let names = ["www.example.test", "127.0.0.1"];
    let certificate = || leaf(&server, "certbot/live/www.example.test/fullchain.pem", &names);
    let first = certificate();
    assert_short(&first);
    // Of what was revoked, renewal information (RFC 9773) says that it is to be renewed at once.
    let serial = first.serial_number().to_bn().unwrap().to_hex_str().unwrap();
    kipuka(&server, &["cert", "revoke", "--serial", &serial, "--reason", "superseded"]);
    certbot.run(&server, "renew --no-random-sleep-on-renew");
    let renewed = certificate();
    assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    assert_short(&renewed);
    certbot.run(&server, "renew --no-random-sleep-on-renew");
    assert_eq!(renewed.to_der().unwrap(), certificate().to_der().unwrap(), "it is not due");
    assert_revoked(&server, &[&first]).await;
}

/// Rule 39: of the two certificates, one says that it is no CA's (CA:FALSE), and one says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_certbot_takes_certificates_with_and_without_basic_constraints() {
    let port = Port::reserve();
    let settings = Settings {
        http_port: Some(port.number),
        ca: "profiles = [\"with\", \"without\"]".to_owned(),
        sections: "[profile.with]\n\n[profile.without]\nbasic_constraints = false\n\n".to_owned(),
        ..Settings::default()
    };
    let server = server_with(settings).await;
    let certbot = Certbot::newest();
    let standalone = format!("certonly --standalone --http-01-port {}", port.number);
    let account = "--agree-tos --register-unsafely-without-email";
    for (profile, says) in [("with", true), ("without", false)] {
        let name = format!("{profile}.example.test");
        let what = format!("-d {name} --preferred-profile {profile} --preferred-chain 'test root'");
        certbot.run(&server, &format!("{standalone} {account} {what}"));
        let live = format!("certbot/live/{name}/fullchain.pem");
        let first = leaf(&server, &live, &[&name]);
        let text = String::from_utf8(first.to_text().unwrap()).unwrap();
        assert_eq!(text.contains("CA:FALSE"), says, "{text}");
        let renew = format!("renew --force-renewal --cert-name {name}");
        certbot.run(&server, &format!("{renew} --no-random-sleep-on-renew"));
        let renewed = leaf(&server, &live, &[&name]);
        assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    }
}
