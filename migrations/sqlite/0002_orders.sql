-- Authorizations (RFC 8555 §7.1.4). concluded_by is written once: it names the challenge that decided.
CREATE TABLE authorizations (
  id             TEXT   NOT NULL PRIMARY KEY,
  ca             TEXT   NOT NULL,
  account_id     TEXT   NOT NULL REFERENCES accounts (id),
  identifier     TEXT   NOT NULL,
  created_at     BIGINT NOT NULL,
  expires_at     BIGINT NOT NULL,
  deactivated_at BIGINT,
  concluded_by   TEXT
);
CREATE INDEX authorizations_by_account ON authorizations (account_id, identifier);

-- Challenges (RFC 8555 §7.1.5). Either validated_at or error is written, once.
CREATE TABLE challenges (
  id               TEXT   NOT NULL PRIMARY KEY,
  authorization_id TEXT   NOT NULL REFERENCES authorizations (id),
  type             TEXT   NOT NULL,
  token            TEXT   NOT NULL,
  begun_at         BIGINT,
  validated_at     BIGINT,
  evidence         TEXT,
  error            TEXT
);
CREATE INDEX challenges_by_authorization ON challenges (authorization_id);

-- Orders (RFC 8555 §7.1.3). processing_since, certificate_id and error are written once.
CREATE TABLE orders (
  id               TEXT   NOT NULL PRIMARY KEY,
  ca               TEXT   NOT NULL,
  account_id       TEXT   NOT NULL REFERENCES accounts (id),
  created_at       BIGINT NOT NULL,
  expires_at       BIGINT NOT NULL,
  processing_since BIGINT,
  csr              BLOB,
  certificate_id   TEXT,
  error            TEXT
);
CREATE INDEX orders_by_account ON orders (account_id, created_at, id);

CREATE TABLE order_authorizations (
  order_id         TEXT   NOT NULL REFERENCES orders (id),
  position         BIGINT NOT NULL,
  authorization_id TEXT   NOT NULL REFERENCES authorizations (id),
  PRIMARY KEY (order_id, position)
);
CREATE INDEX order_authorizations_by_authorization ON order_authorizations (authorization_id);
