//! `kipuka order`: what clients have ordered, and what became of it.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failure, print_json, print_listing, with_store};
use crate::acme::order::{Order, OrderStatus};
use crate::clock::{Clock, Timestamp};
use crate::store::{ListedOrder, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List orders, the newest first
    List(Filter),
    /// Show an order with its authorizations
    Show {
        /// Its id: the last part of its URL
        #[arg(value_name = "ID")]
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only those of this [[ca]], by its id
    #[arg(long, value_name = "ID")]
    ca: Option<String>,
    /// Only those of this account, by its id
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// So many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn order(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    with_store(config, async |_, store| match command {
        Command::List(filter) => list(store, filter).await,
        Command::Show { id, json } => show(store, id, *json).await,
    })
}

async fn list(store: &Store, filter: &Filter) -> Result<(), Failure> {
    let now = Clock::System.now();
    let (ca, account) = (filter.ca.as_deref(), filter.account.as_deref());
    let listed = store.listed_orders(ca, account, None, filter.limit.into()).await;
    let (mut rows, mut lines) = (Vec::new(), String::new());
    for listed in listed.map_err(Failure::failed)? {
        let order = read(store, &listed).await?;
        if filter.json {
            rows.push(object(&order, listed.created_at, now));
        } else {
            let names = identifiers(&order).join(" ");
            let (ca, status) = (&order.ca, order.status(now));
            lines += &format!(
                "{}  {ca}  {}  {:10}  {names}\n",
                listed.created_at,
                order.id,
                status.as_str()
            );
        }
    }
    if filter.json { print_json(&rows) } else { print_listing(&lines) }
}

async fn show(store: &Store, id: &str, as_json: bool) -> Result<(), Failure> {
    let now = Clock::System.now();
    let listed = store.listed_orders(None, None, Some(id), 1).await.map_err(Failure::failed)?;
    let Some(listed) = listed.first() else {
        return Err(Failure::Failed(format!("there is no order {id:?}; see kipuka order list")));
    };
    let order = read(store, listed).await?;
    if as_json {
        return print_json(&object(&order, listed.created_at, now));
    }
    print_listing(&text(&order, listed.created_at, now))
}

async fn read(store: &Store, listed: &ListedOrder) -> Result<Order, Failure> {
    let order = store.order(&listed.ca, &listed.id).await.map_err(Failure::failed)?;
    order.ok_or_else(|| Failure::Failed(format!("the order {} is gone", listed.id)))
}

fn identifiers(order: &Order) -> Vec<String> {
    order.identifiers.iter().map(ToString::to_string).collect()
}

/// What an order says of itself beside its identifiers, each where it is there.
fn facts(order: &Order, created_at: Timestamp, now: Timestamp) -> Vec<(&'static str, String)> {
    let status = order.status(now);
    let (certificate, error) = match &status {
        OrderStatus::Valid { certificate_id } => (Some(certificate_id.clone()), None),
        OrderStatus::Invalid { problem } => (None, Some(problem.detail.clone())),
        OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing => (None, None),
    };
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let facts = [
        ("id", Some(order.id.clone())),
        ("ca", Some(order.ca.clone())),
        ("account", Some(order.account_id.clone())),
        ("status", Some(status.as_str().to_owned())),
        ("created", time(Some(created_at))),
        ("expires", time(Some(order.expires_at))),
        ("notBefore", time(order.not_before)),
        ("notAfter", time(order.not_after)),
        ("profile", order.profile.clone()),
        ("replaces", order.replaces.clone()),
        ("processing since", time(order.processing_since)),
        ("certificate", certificate),
        ("error", error),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn object(order: &Order, created_at: Timestamp, now: Timestamp) -> Value {
    let mut object = json!({ "identifiers": identifiers(order) });
    for (name, value) in facts(order, created_at, now) {
        object[name.replace(' ', "_")] = json!(value);
    }
    let authorizations = order.authorizations.iter().map(|authorization| {
        json!({
            "id": authorization.id,
            "identifier": authorization.identifier.to_string(),
            "status": authorization.status(now).as_str(),
            "expires": authorization.expires_at,
            "proved_by": authorization.concluding_challenge().map(|one| one.kind.as_str()),
        })
    });
    object["authorizations"] = authorizations.collect();
    object
}

fn text(order: &Order, created_at: Timestamp, now: Timestamp) -> String {
    let mut text = String::new();
    for (name, value) in facts(order, created_at, now) {
        text += &format!("{name:16}  {value}\n");
    }
    for (identifier, authorization) in order.identifiers.iter().zip(&order.authorizations) {
        let how = authorization.concluding_challenge().map_or("", |one| one.kind.as_str());
        let status = authorization.status(now).as_str();
        let id = &authorization.id;
        text += &format!("{:16}  {identifier}: {status} {how} ({id})\n", "identifier");
    }
    text
}
