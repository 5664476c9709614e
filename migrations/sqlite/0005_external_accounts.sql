-- External accounts (RFC 8555 §7.3.4): keys that bind new ACME accounts. mac_key is there only as long as
-- it may bind another account; it is erased with its last use and by a revocation.
CREATE TABLE external_accounts (
  kid        TEXT   NOT NULL PRIMARY KEY,
  ca         TEXT   NOT NULL,
  name       TEXT,
  algorithm  TEXT   NOT NULL,
  mac_key    BLOB,
  allowed    TEXT   NOT NULL,
  reusable   BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT
);
CREATE INDEX external_accounts_by_creation ON external_accounts (created_at, kid);

-- What bound the account, as the client sent it (RFC 8555 §7.3.4).
ALTER TABLE accounts ADD COLUMN external_account_kid TEXT REFERENCES external_accounts (kid);
ALTER TABLE accounts ADD COLUMN external_account_binding TEXT;
CREATE INDEX accounts_by_external_account ON accounts (external_account_kid);

-- The URL of the terms that were agreed to at terms_agreed_at (RFC 8555 §7.3.3).
ALTER TABLE accounts ADD COLUMN terms_agreed TEXT;

-- Of the account key when the challenge was begun: a later key does not change what the client has
-- shown (RFC 8555 §7.3.5). Where it is missing, the account's.
ALTER TABLE challenges ADD COLUMN key_thumbprint TEXT;
