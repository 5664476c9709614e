-- Work that the process which began it has in hand, of a database that no other process serves: nobody looks
-- for it on the list, which has an index for each way of looking. Once the lease is over it is put there.
-- There are few rows at a time, so there is no index. On Postgres all work is in the table work.
CREATE TABLE work_in_hand (
  kind       TEXT   NOT NULL,
  subject    TEXT   NOT NULL,
  account_id TEXT   NOT NULL,
  lease      TEXT   NOT NULL,
  due_at     BIGINT NOT NULL
);
