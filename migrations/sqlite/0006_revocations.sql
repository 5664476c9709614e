-- Revocations (RFC 5280 §5.3): written once. issuer is the SHA-256 of the name of the certificate's
-- issuer: CAs of one name are one CRL issuer. not_after is the last moment of its validity, which SQL
-- cannot read in the certificate.
CREATE TABLE revocations (
  certificate_id TEXT   NOT NULL PRIMARY KEY REFERENCES certificates (id),
  issuer         TEXT   NOT NULL,
  serial         TEXT   NOT NULL,
  reason         BIGINT NOT NULL,
  revoked_at     BIGINT NOT NULL,
  revoked_by     TEXT   NOT NULL,
  not_after      BIGINT NOT NULL
);
CREATE INDEX revocations_by_issuer ON revocations (issuer, not_after);

-- CRLs (RFC 5280 §5): a row exists, with number and TBS, before anything is signed. The rows stay, so
-- that no number is given twice; tbs is dropped once the CRL is there, the CRL once it is long superseded.
CREATE TABLE crls (
  issuer      TEXT   NOT NULL,
  number      BIGINT NOT NULL,
  signing_key TEXT   NOT NULL,
  this_update BIGINT NOT NULL,
  next_update BIGINT NOT NULL,
  tbs         BLOB,
  crl         BLOB,
  signed_at   BIGINT,
  PRIMARY KEY (issuer, number)
);

-- How often the work was asked for anew since it was put on the list: settling takes it off only where
-- that was not while it was being done.
ALTER TABLE work ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;
