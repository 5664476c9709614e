-- The chain below which certificates were issued, by the SHA-256 of its PEM text.
CREATE TABLE issuers (
  id    TEXT NOT NULL PRIMARY KEY,
  chain TEXT NOT NULL
);

-- Certificates: a row exists, with serial and TBS, before anything is signed. One for each order;
-- none has kipuka's own certificate for its own server, which nobody ordered.
CREATE TABLE certificates (
  id          TEXT   NOT NULL PRIMARY KEY,
  ca          TEXT   NOT NULL,
  account_id  TEXT   REFERENCES accounts (id),
  order_id    TEXT   UNIQUE REFERENCES orders (id),
  issuer_id   TEXT   NOT NULL REFERENCES issuers (id),
  serial      TEXT   NOT NULL,
  tbs         BYTEA   NOT NULL,
  planned_at  BIGINT NOT NULL,
  certificate BYTEA,
  issued_at   BIGINT,
  UNIQUE (ca, serial)
);
