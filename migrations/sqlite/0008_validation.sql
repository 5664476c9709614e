-- The account's URL as the client wrote it when it said that the challenge is ready; and, while the
-- validation is tried again, what went wrong until now and when the next attempt is due.
ALTER TABLE challenges ADD COLUMN account_url TEXT;
ALTER TABLE challenges ADD COLUMN retry_error TEXT;
ALTER TABLE challenges ADD COLUMN retry_at BIGINT;

-- What CAA records (RFC 8659) were found to say of a name that an account had proved by a method, each
-- time they were asked for. permits is 1 or 0.
CREATE TABLE caa_checks (
  id         TEXT   NOT NULL PRIMARY KEY,
  account_id TEXT   NOT NULL REFERENCES accounts (id),
  identifier TEXT   NOT NULL,
  method     TEXT   NOT NULL,
  checked_at BIGINT NOT NULL,
  permits    BIGINT NOT NULL,
  evidence   TEXT   NOT NULL
);
CREATE INDEX caa_checks_by_identifier ON caa_checks (account_id, identifier, checked_at);
