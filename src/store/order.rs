//! Orders (RFC 8555 §7.1.3).

use super::authorization::{
    COLUMNS, authorization_of, insert_authorizations, select_authorizations,
};
use super::db::{Done, Statement, values};
use super::usage::{
    Caps, failures_since, list, orders_since, pending_authorizations, pending_orders, window,
};
use super::{Store, StoreError};
use crate::acme::challenge::{Challenge, ChallengeType};
use crate::acme::identifier::Identifier;
use crate::acme::order::Order;
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// An order to be kept.
#[derive(Debug)]
pub(crate) struct NewOrder {
    pub(crate) id: String,
    pub(crate) ca: String,
    pub(crate) account_id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) profile: Option<String>,
    pub(crate) replaces: Option<String>,
    /// In the order in which they are to be shown.
    pub(crate) identifiers: Vec<OrderedIdentifier>,
    /// To be kept with it; authorizations that are kept already are named by `identifiers` alone.
    pub(crate) authorizations: Vec<NewAuthorization>,
    /// What the account may have with it.
    pub(crate) caps: Caps,
}

/// What is ordered, and the authorization that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderedIdentifier {
    pub(crate) identifier: Identifier,
    pub(crate) authorization_id: String,
}

#[derive(Debug)]
pub(crate) struct NewAuthorization {
    pub(crate) id: String,
    pub(crate) identifier: Identifier,
    pub(crate) subdomains: bool,
    pub(crate) expires_at: Timestamp,
    pub(crate) challenges: Vec<NewChallenge>,
}

#[derive(Debug)]
pub(crate) struct NewChallenge {
    pub(crate) id: String,
    pub(crate) kind: ChallengeType,
    pub(crate) token: String,
}

impl NewChallenge {
    /// The challenge as it stands when it was just kept.
    pub(crate) fn pending(self) -> Challenge {
        Challenge {
            id: self.id,
            kind: self.kind,
            token: self.token,
            begun_at: None,
            account_url: None,
            retry: None,
            attested_key: None,
            result: None,
        }
    }
}

/// Where an order is to be read, and since when it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedOrder {
    pub(crate) ca: String,
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
}

/// A part of an account's list of orders (RFC 8555 §7.1.2.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OrdersPage {
    /// Newest first.
    pub(crate) ids: Vec<String>,
    /// Where the next page begins, where there is one.
    pub(crate) next: Option<OrdersCursor>,
}

/// Before which order a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrdersCursor {
    pub(crate) created_at: Timestamp,
    pub(crate) id: String,
}

/// INSERT of an order, unless its account would have more than its caps. A cap of 0 is none, and none holds
/// for authorizations that are not new.
macro_rules! insert_order {
    ($names:literal) => {
        concat!(
            "INSERT INTO orders (id, ca, account_id, created_at, expires_at, not_before, not_after, ",
            "profile, replaces, number) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, ",
            "1 + COALESCE((SELECT MAX(n.number) FROM orders n WHERE n.account_id = $3 ",
            "AND n.created_at >= (SELECT MAX(m.created_at) FROM orders m WHERE m.account_id = $3)), 0) ",
            "WHERE ($11 = 0 OR ",
            orders_since!("$3", "$10"),
            " < $11) AND ($12 = 0 OR ",
            pending_orders!("$3", "$4", "$12"),
            " < $12) AND ($13 = 0 OR $14 = 0 OR ",
            pending_authorizations!("$3", "$4", "$13"),
            " + $14 <= $13) AND ($14 = 0 OR $15 = 0 OR NOT EXISTS (SELECT 1 FROM (",
            $names,
            ") i WHERE ",
            failures_since!("$3", "i.name", "$10"),
            " >= $15))"
        )
    };
}

pub(super) const INSERT_ON_SQLITE: &str = insert_order!("SELECT value AS name FROM json_each($16)");

impl Store {
    /// Keeps a new order and its new authorizations. `false` where one of the other authorizations that
    /// it is to use is not this account's, or was deactivated meanwhile, and where the account would have
    /// more than its caps; then nothing is kept. [`Store::usage`] tells which of the two it was.
    pub(crate) async fn create_order(
        &self,
        order: &NewOrder,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let insert_order = self.db.pick(
            INSERT_ON_SQLITE,
            insert_order!("SELECT json_array_elements_text($16::json) AS name"),
        );
        let use_earlier = "INSERT INTO order_authorizations (order_id, position, authorization_id, \
                           identifier) SELECT $1, $2, a.id, $4 FROM authorizations a \
                           WHERE a.id = $3 AND a.ca = $5 AND a.account_id = $6 \
                           AND a.deactivated_at IS NULL";
        let (ca, account_id) = (order.ca.as_str(), order.account_id.as_str());
        let Caps { orders, pending_orders, pending_authorizations, failed_validations } =
            order.caps;
        let new_names: Vec<_> =
            order.authorizations.iter().map(|new| new.identifier.to_string()).collect();
        let mut values = values![
            order.id.as_str(),
            ca,
            account_id,
            order.created_at,
            order.expires_at,
            order.not_before,
            order.not_after,
            order.profile.clone(),
            order.replaces.clone(),
            window(order.created_at),
            orders,
            pending_orders,
            pending_authorizations,
            i64::try_from(new_names.len()).unwrap_or(i64::MAX),
            failed_validations,
        ];
        values.push(list(&new_names));
        let mut statements = vec![Statement::required(insert_order, values)];
        let new = order.authorizations.iter();
        statements.extend(insert_authorizations(ca, account_id, new, order.created_at));
        let mut positions = Vec::new();
        for (place, position) in order.identifiers.iter().zip(0_i64..) {
            let OrderedIdentifier { identifier, authorization_id } = place;
            let new = order.authorizations.iter().find(|new| new.id == *authorization_id);
            let own = new.is_some_and(|new| new.identifier == *identifier);
            let name = (!own).then(|| identifier.to_string());
            let values = values![order.id.as_str(), position, authorization_id.as_str(), name];
            if new.is_some() {
                positions.push(values);
            } else {
                let values = values.into_iter().chain(values![ca, account_id]).collect();
                statements.push(Statement::required(use_earlier, values));
            }
        }
        if !positions.is_empty() {
            statements.push(Statement::insert_rows(
                "INSERT INTO order_authorizations (order_id, position, authorization_id, \
                 identifier) VALUES",
                positions,
            ));
        }
        statements.push(self.note(entry));
        Ok(self.db.transact(statements).await? == Done::Committed)
    }

    /// The order with this id and CA; each of its authorizations with the challenge that decided.
    pub(crate) async fn order(&self, ca: &str, id: &str) -> Result<Option<Order>, StoreError> {
        let select = select_authorizations!(
            ", o.id, o.ca, o.account_id, o.expires_at, o.processing_since, o.certificate_id, \
             o.error, o.not_before, o.not_after, o.profile, o.replaces, p.identifier, \
             u.deactivated_at FROM orders o JOIN accounts u ON u.id = o.account_id \
             JOIN order_authorizations p ON p.order_id = o.id \
             JOIN authorizations a ON a.id = p.authorization_id \
             LEFT JOIN challenges c ON c.id = a.concluded_by \
             WHERE o.ca = $1 AND o.id = $2 ORDER BY p.position"
        );
        let rows = self.db.read(select, values![ca, id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let id = row.text(COLUMNS)?;
        let error = match row.optional_text(COLUMNS + 6)? {
            None => None,
            Some(text) => match serde_json::from_str(&text) {
                Ok(problem) => Some(problem),
                Err(_) => return Err(StoreError::Corrupt { table: "orders", id }),
            },
        };
        let authorizations: Vec<_> = rows.iter().map(authorization_of).collect::<Result<_, _>>()?;
        let mut identifiers = Vec::with_capacity(rows.len());
        for (row, authorization) in rows.iter().zip(&authorizations) {
            identifiers.push(match row.optional_text(COLUMNS + 11)? {
                None => authorization.identifier.clone(),
                Some(text) => Identifier::stored(&text)
                    .filter(|identifier| authorization.covers(identifier))
                    .ok_or_else(|| StoreError::Corrupt { table: "orders", id: id.clone() })?,
            });
        }
        Ok(Some(Order {
            id,
            ca: row.text(COLUMNS + 1)?,
            account_id: row.text(COLUMNS + 2)?,
            expires_at: row.time(COLUMNS + 3)?,
            processing_since: row.optional_time(COLUMNS + 4)?,
            certificate_id: row.optional_text(COLUMNS + 5)?,
            error,
            account_deactivated_at: row.optional_time(COLUMNS + 12)?,
            not_before: row.optional_time(COLUMNS + 7)?,
            not_after: row.optional_time(COLUMNS + 8)?,
            profile: row.optional_text(COLUMNS + 9)?,
            replaces: row.optional_text(COLUMNS + 10)?,
            identifiers,
            authorizations,
        }))
    }

    /// Whether an order that is valid replaced the certificate of this identifier (RFC 9773 §5): one
    /// that failed did not.
    pub(crate) async fn is_replaced(&self, ca: &str, replaces: &str) -> Result<bool, StoreError> {
        let select = "SELECT 1 FROM orders WHERE ca = $1 AND replaces = $2 \
                      AND certificate_id IS NOT NULL LIMIT 1";
        Ok(!self.db.read(select, values![ca, replaces]).await?.is_empty())
    }

    /// Orders, newest first: of this CA, account and id, each where given.
    pub(crate) async fn listed_orders(
        &self,
        ca: Option<&str>,
        account_id: Option<&str>,
        id: Option<&str>,
        limit: i64,
    ) -> Result<Vec<ListedOrder>, StoreError> {
        let select = "SELECT ca, id, created_at FROM orders WHERE ($1 = '' OR ca = $1) \
                      AND ($2 = '' OR account_id = $2) AND ($3 = '' OR id = $3) \
                      ORDER BY created_at DESC, id DESC LIMIT $4";
        let values = values![
            ca.unwrap_or_default(),
            account_id.unwrap_or_default(),
            id.unwrap_or_default(),
            limit
        ];
        let listed = self.db.scan(select, values).await?;
        let listed = listed.iter().map(|row| {
            Ok(ListedOrder { ca: row.text(0)?, id: row.text(1)?, created_at: row.time(2)? })
        });
        listed.collect()
    }

    /// The CSR that the order with this id accepted, if it did.
    pub(crate) async fn order_csr(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.db.read("SELECT csr FROM orders WHERE id = $1", values![id]).await?;
        rows.first().map(|row| row.optional_blob(0)).transpose().map(Option::flatten)
    }

    /// An account's orders that are not invalid (RFC 8555 §7.1.2.1), newest first.
    pub(crate) async fn orders_of(
        &self,
        account_id: &str,
        now: Timestamp,
        before: Option<OrdersCursor>,
        limit: usize,
    ) -> Result<OrdersPage, StoreError> {
        let select = "SELECT o.id, o.created_at FROM orders o \
             JOIN accounts u ON u.id = o.account_id WHERE o.account_id = $1 \
             AND (u.deactivated_at IS NULL OR o.certificate_id IS NOT NULL) AND o.error IS NULL AND (o.created_at < $3 OR (o.created_at = $3 AND o.id < $4)) \
             AND (o.processing_since IS NOT NULL OR (o.expires_at > $2 AND NOT EXISTS (\
             SELECT 1 FROM order_authorizations p \
             JOIN authorizations a ON a.id = p.authorization_id \
             LEFT JOIN challenges c ON c.id = a.concluded_by \
             WHERE p.order_id = o.id AND (a.deactivated_at IS NOT NULL OR a.expires_at <= $2 \
             OR c.error IS NOT NULL)))) \
             ORDER BY o.created_at DESC, o.id DESC LIMIT $5";
        let before = before.unwrap_or(OrdersCursor {
            created_at: Timestamp::from_unix_ms(i64::MAX),
            id: String::new(),
        });
        // One more than asked shows whether there is another page.
        let fetch = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
        let values = values![account_id, now, before.created_at, before.id, fetch];
        let mut found = Vec::new();
        for row in self.db.scan(select, values).await? {
            found.push(OrdersCursor { id: row.text(0)?, created_at: row.time(1)? });
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().cloned() } else { None };
        Ok(OrdersPage { ids: found.into_iter().map(|cursor| cursor.id).collect(), next })
    }
}
