-- The audit trail (docs/operate/audit.md). A decision writes its entry here, in its own transaction. What is
-- here is not chained yet: within about a second it is sealed, that is, moved into audit_log.
CREATE TABLE audit_pending (
  id    TEXT NOT NULL PRIMARY KEY,
  entry TEXT NOT NULL
);

-- The chain: each hash covers the one before it, the position, the id and the entry.
CREATE TABLE audit_log (
  position BIGINT NOT NULL PRIMARY KEY,
  id       TEXT   NOT NULL UNIQUE,
  entry    TEXT   NOT NULL,
  hash     TEXT   NOT NULL
);

-- The end of the chain, and who seals: one instance at a time, until its time is up.
CREATE TABLE audit_head (
  name         TEXT   NOT NULL PRIMARY KEY,
  position     BIGINT NOT NULL,
  hash         TEXT   NOT NULL,
  sealer       TEXT   NOT NULL,
  sealer_until BIGINT NOT NULL
);
INSERT INTO audit_head (name, position, hash, sealer, sealer_until)
VALUES ('trail', 0, '0000000000000000000000000000000000000000000000000000000000000000', '', 0);

-- What a CA's key signed of the end of the chain.
CREATE TABLE audit_checkpoints (
  position    BIGINT NOT NULL PRIMARY KEY,
  statement   TEXT   NOT NULL,
  algorithm   TEXT   NOT NULL,
  signature   BLOB   NOT NULL,
  certificate TEXT   NOT NULL
);

-- Whether the trail must have an entry of the row; of certificates, 1 for the plan and 2 more for the
-- certificate. Releases without the trail write 0.
ALTER TABLE certificates ADD COLUMN audited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE revocations ADD COLUMN audited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE crls ADD COLUMN audited BIGINT NOT NULL DEFAULT 0;

-- Of this database alone: what was written stays, and what is pending leaves for the log and nowhere else.
CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_log_is_not_deleted BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_pending_is_not_changed BEFORE UPDATE ON audit_pending
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_pending_goes_into_the_log BEFORE DELETE ON audit_pending
WHEN NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.id = OLD.id AND l.entry = OLD.entry)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_checkpoints_are_not_changed BEFORE UPDATE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_checkpoints_are_not_deleted BEFORE DELETE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
