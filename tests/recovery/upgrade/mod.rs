//! From the release before this one to this one, with both running. Its sources are beside this file; the
//! configuration that the tests write must be one that it reads, too.

use std::path::Path;

use harness::{Client, Database, Server, Settings, previous};
use openssl::x509::X509;
use serde_json::json;

use crate::BINARY;
use crate::instances::{Customer, Pair, prepare};

/// The first is of the release before, the second of this one.
async fn both() -> Pair {
    prepare([&previous::binary(), Path::new(BINARY)], Settings::key_file).await
}

/// How many steps the schema had in the release before.
const STEPS_BEFORE: usize = 8;

/// How many it has now.
fn steps() -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    std::fs::read_dir(folder).unwrap().count()
}

/// How far the schema has come, by what a release knows of it.
fn schema(server: &Server) -> String {
    let output = server.run(&["db", "status"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A customer of one instance, with orders that stand where an upgrade may find them.
struct Begun {
    customer: Customer,
    orders: Vec<String>,
}

impl Begun {
    /// A pending order, one whose challenge is proved, and one that is done.
    async fn at(client: Client, roots: Vec<X509>, at: &str) -> Self {
        let mut customer = Customer::new(client, roots).await;
        let mut orders = vec![customer.order(&format!("pending-{at}.test")).await];
        let name = format!("proved-{at}.test");
        let proved = customer.order(&name).await;
        let order = customer.post(&proved, json!(null)).await.expect(200).json();
        customer.prove(&name, &order).await;
        orders.push(proved);
        let done = customer.order(&format!("done-{at}.test")).await;
        customer.finish(&done).await;
        orders.push(done);
        Self { customer, orders }
    }

    /// Has another instance finish them all.
    async fn finish_at(mut self, server: &Server) -> Customer {
        self.customer.client.alternate_between(&[server.address]);
        for order in &self.orders {
            self.customer.finish(order).await;
        }
        assert_eq!((self.customer.broken, self.customer.unavailable), (0, 0));
        self.customer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_release_before_and_this_one_serve_one_database_side_by_side() {
    let mut pair = both().await;
    let roots = pair.first.roots();
    pair.first.spawn();
    let old = pair.first.address;
    let before = Begun::at(pair.client_of(old).await, roots.clone(), "before").await;
    let untouched = Begun::at(pair.client_of(old).await, roots.clone(), "untouched").await;
    assert!(schema(&pair.first).contains("up to date"));

    // The new one brings the schema up to date, while the old one serves.
    pair.second.spawn();
    assert!(schema(&pair.second).contains("up to date"));
    let new = pair.second.address;
    before.finish_at(&pair.second).await;
    let after = Begun::at(pair.client_of(old).await, roots.clone(), "after").await;
    let of_new = Begun::at(pair.client_of(new).await, roots.clone(), "new").await;
    after.finish_at(&pair.second).await;
    of_new.finish_at(&pair.first).await;

    // Each step at the other one.
    let mut mixed = Customer::new(pair.alternating().await, roots.clone()).await;
    for number in 0..4 {
        mixed.client.with_method("HEAD", &mixed.client.url("newNonce")).await.expect(200);
        let certificate = mixed.issue(&format!("mixed-{number}.test")).await;
        let url = mixed.client.url("revokeCert");
        let der = harness::key::base64url(certificate.to_der().unwrap());
        mixed.post(&url, json!({ "certificate": der })).await.expect(200);
    }

    // The old one starts again with the new schema: one can go back.
    assert!(tokio::task::block_in_place(|| pair.first.terminate()).0);
    pair.first.spawn();
    let newer = ["up to date", "by a newer kipuka"][usize::from(steps() > STEPS_BEFORE)];
    assert!(schema(&pair.first).contains(newer), "{}", schema(&pair.first));
    mixed.issue("again.test").await;

    // And then it goes for good.
    let last = Begun::at(pair.client_of(old).await, roots, "last").await;
    assert!(tokio::task::block_in_place(|| pair.first.terminate()).0);
    last.finish_at(&pair.second).await;
    untouched.finish_at(&pair.second).await;
    for server in [&pair.first, &pair.second] {
        assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
    }
    assert_eq!(pair.count("orders WHERE certificate_id IS NULL"), 0);
    assert_eq!(pair.count("orders WHERE error IS NOT NULL"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_goes_from_the_release_before_to_this_one_and_back() {
    let database = Database::sqlite();
    let settings = || Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let mut old = Server::start(previous::binary(), settings()).await;
    let mut new = Server::prepare(BINARY, settings()).await;
    new.take_cas_of(&old);
    let mut client = old.account("ca").await;
    let pending = client.order(&["a.test"]).await.url;
    assert!(tokio::task::block_in_place(|| old.terminate()).0);
    new.spawn();
    // Its own DNS and web servers are asked now; URLs are its own, too.
    let here = |server: &Server, url: &str| {
        format!(
            "https://localhost:{}/{}",
            server.address.port(),
            url.splitn(4, '/').nth(3).unwrap()
        )
    };
    let mut moved = new.client_with("ca", client.key.clone()).await;
    moved.kid = client.kid.as_deref().map(|kid| here(&new, kid));
    let order = moved.post_as_get(&here(&new, &pending)).await.expect(200).json();
    assert_eq!(order["status"], "pending", "{order}");
    moved.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    assert!(tokio::task::block_in_place(|| new.terminate()).0);
    old.spawn();
    client.order(&["c.test"]).await.prove("http-01").await.finalize().await;
}
