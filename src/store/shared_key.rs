//! Keys that all instances on one database share.

use super::db::values;
use super::{Store, StoreError};
use crate::entropy::Entropy;

impl Store {
    /// The key called `name`; drawn the first time anybody asks for it.
    pub(crate) async fn shared_key(
        &self,
        name: &'static str,
        entropy: Entropy,
    ) -> Result<[u8; 32], StoreError> {
        let drawn = entropy.bytes::<32>()?;
        // Of two instances that start at once, the first to write decides for both.
        let insert = "INSERT INTO shared_keys (name, value) VALUES ($1, $2) \
                      ON CONFLICT (name) DO NOTHING";
        self.db.change(insert, values![name, &drawn[..]]).await?;
        let rows =
            self.db.read("SELECT value FROM shared_keys WHERE name = $1", values![name]).await?;
        let corrupt = || StoreError::Corrupt { table: "shared_keys", id: name.to_owned() };
        let key = rows.first().ok_or_else(corrupt)?.blob(0)?;
        key.try_into().map_err(|_| corrupt())
    }
}
