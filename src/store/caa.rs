//! What CAA records said (RFC 8659), as evidence and so that it need not be asked again too soon.

use super::db::{Statement, values};
use super::{Store, StoreError};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// One look at the CAA records of a name.
#[derive(Clone, Debug)]
pub(crate) struct CaaCheck {
    pub(crate) id: String,
    pub(crate) account_id: String,
    pub(crate) identifier: Identifier,
    /// By which the account proved the name.
    pub(crate) method: ChallengeType,
    pub(crate) checked_at: Timestamp,
    pub(crate) permits: bool,
    /// What was asked, of whom, and what came back.
    pub(crate) evidence: String,
}

/// A name that is about to be signed, with what was proved of it.
#[derive(Debug)]
pub(crate) struct NameToSign {
    pub(crate) identifier: Identifier,
    /// By which it was proved.
    pub(crate) method: ChallengeType,
    pub(crate) token: String,
    pub(crate) account_url: Option<String>,
    pub(crate) account_thumbprint: String,
    /// When CAA records last permitted it, and nothing was found since that forbids it.
    pub(crate) permitted_at: Option<Timestamp>,
}

impl Store {
    pub(crate) async fn keep_caa_check(
        &self,
        check: &CaaCheck,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO caa_checks (id, account_id, identifier, method, checked_at, \
                      permits, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = values![
            check.id.as_str(),
            check.account_id.as_str(),
            check.identifier.to_string(),
            check.method.as_str(),
            check.checked_at,
            i64::from(check.permits),
            check.evidence.as_str(),
        ];
        let statements = vec![Statement::new(insert, values), self.note(entry)];
        self.db.transact(statements).await.map(drop)
    }

    /// The names of an order whose authorizations are all proved, in its order.
    pub(crate) async fn names_to_sign(
        &self,
        order_id: &str,
    ) -> Result<Vec<NameToSign>, StoreError> {
        // Where an authorization stands for the names below its own, the order says which one it is.
        let select = "SELECT a.id, COALESCE(p.identifier, a.identifier), c.type, c.token, \
             c.account_url, u.thumbprint, \
             (SELECT MAX(k.checked_at) FROM caa_checks k WHERE k.account_id = a.account_id \
             AND k.identifier = COALESCE(p.identifier, a.identifier) AND k.method = c.type \
             AND k.permits = 1 \
             AND NOT EXISTS (SELECT 1 FROM caa_checks l WHERE l.account_id = k.account_id \
             AND l.identifier = k.identifier AND l.method = k.method AND l.permits = 0 \
             AND l.checked_at >= k.checked_at)) \
             FROM order_authorizations p JOIN authorizations a ON a.id = p.authorization_id \
             JOIN challenges c ON c.id = a.concluded_by JOIN accounts u ON u.id = a.account_id \
             WHERE p.order_id = $1 ORDER BY p.position";
        let rows = self.db.read(select, values![order_id]).await?;
        let names = rows.iter().map(|row| {
            let id = row.text(0)?;
            let (name, method) = (row.text(1)?, row.text(2)?);
            let (Some(identifier), Some(method)) =
                (Identifier::stored(&name), ChallengeType::from_name(&method))
            else {
                return Err(StoreError::Corrupt { table: "authorizations", id });
            };
            Ok(NameToSign {
                identifier,
                method,
                token: row.text(3)?,
                account_url: row.optional_text(4)?,
                account_thumbprint: row.text(5)?,
                permitted_at: row.optional_time(6)?,
            })
        });
        names.collect()
    }
}
