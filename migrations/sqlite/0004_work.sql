-- Work to be done: kept until it is settled. A claim moves due_at to the end of the lease and sets a
-- new lease token; whoever holds another token may no longer settle it.
CREATE TABLE work (
  kind     TEXT   NOT NULL,
  subject  TEXT   NOT NULL,
  due_at   BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  lease    TEXT,
  PRIMARY KEY (kind, subject)
);
CREATE INDEX work_by_due ON work (kind, due_at);
