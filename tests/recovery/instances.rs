//! Several instances on one Postgres: any request may reach any of them.

mod balanced;
mod certbot;
mod customer;
mod steps;

pub(crate) use customer::Customer;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use harness::load_balancer::{Instance, SOURCE};
use harness::{Client, Database, LoadBalancer, Port, Server, Settings};

use crate::BINARY;

/// Two instances of one CA.
pub(crate) struct Pair {
    pub(crate) first: Server,
    pub(crate) second: Server,
    pub(crate) balancer: LoadBalancer,
    pub(crate) database: Database,
    ports: [Port; 2],
}

/// Two programs that are not started yet, of which one may be another release; `settings` gives what goes
/// into both.
pub(crate) async fn prepare(programs: [&Path; 2], settings: impl Fn() -> Settings) -> Pair {
    let database = Database::postgres();
    let balancer = LoadBalancer::reserve();
    let ports = [Port::reserve(), Port::reserve()];
    let complete = |port: &Port| {
        let mut settings = settings();
        settings.database_url = Some(database.url());
        settings.server += &format!(
            "\nexternal_url = \"{}\"\nhttp_listen = \"{}\"",
            balancer.external_url(),
            port.address()
        );
        settings
    };
    let first = Server::prepare(programs[0], complete(&ports[0])).await;
    let mut others = complete(&ports[1]);
    others.http_port = others.http_port.or(Some(first.responder.http_port));
    let mut second = Server::prepare(programs[1], others).await;
    second.take_cas_of(&first);
    Pair { first, second, balancer, database, ports }
}

impl Pair {
    /// One program twice.
    pub(crate) async fn start(settings: impl Fn() -> Settings) -> Self {
        let trusting = || {
            let mut settings = settings();
            settings.sections += &format!("\n[limits]\ntrusted_proxies = [\"{SOURCE}\"]\n");
            settings
        };
        let mut pair = prepare([Path::new(BINARY), Path::new(BINARY)], trusting).await;
        pair.first.spawn();
        pair.second.spawn();
        pair.balance();
        pair
    }

    pub(crate) fn balance(&mut self) {
        let instance = |server: &Server, http: &Port| Instance {
            acme: server.address,
            http: http.address(),
            admin: server.admin,
        };
        let instances =
            [instance(&self.first, &self.ports[0]), instance(&self.second, &self.ports[1])];
        self.balancer.start(instances);
    }

    /// A client of the load balancer, without an account.
    pub(crate) async fn client(&self) -> Client {
        self.client_of(self.balancer.acme()).await
    }

    /// One of a server at this address. URLs name the balancer, whoever gives them.
    pub(crate) async fn client_of(&self, address: SocketAddr) -> Client {
        let key = harness::Key::new(harness::Algorithm::Es256);
        let (first, roots) = (&self.first, self.first.roots());
        Client::new(address, "ca", key, &roots, &first.responder, &first.zone).await
    }

    /// One that asks the instances by turns, behind the balancer's back.
    pub(crate) async fn alternating(&self) -> Client {
        let mut client = self.client_of(self.first.address).await;
        client.alternate_between(&[self.first.address, self.second.address]);
        client
    }

    /// What the database holds: the rows, with `|` between their columns.
    pub(crate) fn query(&self, select: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        psql.args(["-qAt", "-d", &self.database.url(), "-c", select]);
        harness::command::run(&mut psql).lines().map(str::to_owned).collect()
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.query(&format!("SELECT COUNT(*) FROM {what}"))[0].parse().unwrap()
    }

    /// How many requests each instance has answered, by its log.
    fn answered(&self) -> [usize; 2] {
        [&self.first, &self.second].map(|server| server.log().matches("\"POST\"").count())
    }
}
