-- Accounts (RFC 8555 §7.1.2). Times are milliseconds since the Unix epoch, everywhere.
CREATE TABLE accounts (
  id              TEXT   NOT NULL PRIMARY KEY,
  ca              TEXT   NOT NULL,
  thumbprint      TEXT   NOT NULL,
  jwk             TEXT   NOT NULL,
  contact         TEXT   NOT NULL,
  terms_agreed_at BIGINT,
  created_at      BIGINT NOT NULL,
  deactivated_at  BIGINT,
  UNIQUE (ca, thumbprint)
);

-- Nonces that were spent and would still pass the check of their MAC (RFC 8555 §6.5).
CREATE TABLE spent_nonces (
  id         BYTEA   NOT NULL PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX spent_nonces_by_expiry ON spent_nonces (expires_at);

-- Keys that every instance shares, such as that of the nonces' MAC.
CREATE TABLE shared_keys (
  name  TEXT NOT NULL PRIMARY KEY,
  value BYTEA NOT NULL
);
