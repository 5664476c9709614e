//! Orders (RFC 8555 §7.1.3).

use super::authorization::{COLUMNS, authorization_of, select_authorizations};
use super::db::{Statement, Value, values};
use super::{Store, StoreError};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::order::Order;
use crate::clock::Timestamp;

/// An order to be kept.
#[derive(Debug)]
pub(crate) struct NewOrder {
    pub(crate) id: String,
    pub(crate) ca: String,
    pub(crate) account_id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) authorizations: Vec<NewAuthorization>,
}

#[derive(Debug)]
pub(crate) struct NewAuthorization {
    pub(crate) id: String,
    pub(crate) identifier: Identifier,
    pub(crate) challenges: Vec<NewChallenge>,
}

#[derive(Debug)]
pub(crate) struct NewChallenge {
    pub(crate) id: String,
    pub(crate) kind: ChallengeType,
    pub(crate) token: String,
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

impl Store {
    /// Keeps a new order with new authorizations.
    pub(crate) async fn create_order(&self, order: &NewOrder) -> Result<(), StoreError> {
        let insert_order = "INSERT INTO orders (id, ca, account_id, created_at, expires_at) \
                            VALUES ($1, $2, $3, $4, $5)";
        let mut authorizations: Vec<Vec<Value>> = Vec::new();
        let mut challenges = Vec::new();
        let mut positions = Vec::new();
        for (authorization, position) in order.authorizations.iter().zip(0_i64..) {
            authorizations.push(values![
                authorization.id.as_str(),
                order.ca.as_str(),
                order.account_id.as_str(),
                authorization.identifier.to_string(),
                order.created_at,
                order.expires_at,
            ]);
            challenges.extend(authorization.challenges.iter().map(|challenge| {
                values![
                    challenge.id.as_str(),
                    authorization.id.as_str(),
                    challenge.kind.as_str(),
                    challenge.token.as_str(),
                ]
            }));
            positions.push(values![order.id.as_str(), position, authorization.id.as_str()]);
        }
        let statements = vec![
            Statement::new(
                insert_order,
                values![
                    order.id.as_str(),
                    order.ca.as_str(),
                    order.account_id.as_str(),
                    order.created_at,
                    order.expires_at,
                ],
            ),
            Statement::insert_rows(
                "INSERT INTO authorizations (id, ca, account_id, identifier, created_at, \
                 expires_at) VALUES",
                authorizations,
            ),
            Statement::insert_rows(
                "INSERT INTO challenges (id, authorization_id, type, token) VALUES",
                challenges,
            ),
            Statement::insert_rows(
                "INSERT INTO order_authorizations (order_id, position, authorization_id) VALUES",
                positions,
            ),
        ];
        self.db.transact(statements).await.map(drop)
    }

    /// The order with this id and CA; each of its authorizations with the challenge that decided.
    pub(crate) async fn order(&self, ca: &str, id: &str) -> Result<Option<Order>, StoreError> {
        let select = select_authorizations!(
            ", o.id, o.ca, o.account_id, o.expires_at, o.processing_since, o.certificate_id, \
             o.error, u.deactivated_at FROM orders o JOIN accounts u ON u.id = o.account_id \
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
        Ok(Some(Order {
            id,
            ca: row.text(COLUMNS + 1)?,
            account_id: row.text(COLUMNS + 2)?,
            expires_at: row.time(COLUMNS + 3)?,
            processing_since: row.optional_time(COLUMNS + 4)?,
            certificate_id: row.optional_text(COLUMNS + 5)?,
            error,
            account_deactivated_at: row.optional_time(COLUMNS + 7)?,
            authorizations: rows.iter().map(authorization_of).collect::<Result<_, _>>()?,
        }))
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
             WHERE p.order_id = o.id AND (a.deactivated_at IS NOT NULL OR c.error IS NOT NULL)))) \
             ORDER BY o.created_at DESC, o.id DESC LIMIT $5";
        let before = before.unwrap_or(OrdersCursor {
            created_at: Timestamp::from_unix_ms(i64::MAX),
            id: String::new(),
        });
        // One more than asked shows whether there is another page.
        let fetch = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
        let values = values![account_id, now, before.created_at, before.id, fetch];
        let mut found = Vec::new();
        for row in self.db.read(select, values).await? {
            found.push(OrdersCursor { id: row.text(0)?, created_at: row.time(1)? });
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().cloned() } else { None };
        Ok(OrdersPage { ids: found.into_iter().map(|cursor| cursor.id).collect(), next })
    }
}
