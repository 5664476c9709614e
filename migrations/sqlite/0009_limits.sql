-- What the limits count by. An order has one number more than the one before it of its account: so how many
-- were placed since a moment is the difference of two. failed_at is when an authorization was concluded
-- by a failure, and when an order lost the first of its authorizations: statuses are computed without it.
ALTER TABLE orders ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN failed_at BIGINT;
ALTER TABLE authorizations ADD COLUMN failed_at BIGINT;
CREATE INDEX orders_unfinished_by_account ON orders (account_id, expires_at)
  WHERE certificate_id IS NULL AND error IS NULL AND failed_at IS NULL;
CREATE INDEX authorizations_pending_by_account ON authorizations (account_id, expires_at)
  WHERE concluded_by IS NULL AND deactivated_at IS NULL;
CREATE INDEX authorizations_failed_by_identifier ON authorizations (account_id, identifier, failed_at)
  WHERE failed_at IS NOT NULL;

-- Those that other orders may use, the newest of a name in one step.
CREATE INDEX authorizations_proved_by_identifier ON authorizations (account_id, identifier, expires_at)
  WHERE concluded_by IS NOT NULL AND failed_at IS NULL;

-- From where the account was made: an IPv4 address, or the first 64 bits of an IPv6 address.
ALTER TABLE accounts ADD COLUMN network TEXT;
CREATE INDEX accounts_by_network ON accounts (network, created_at) WHERE network IS NOT NULL;

-- For whom the work is, and when it is its turn: each account's pieces stand one behind the other, so
-- that none waits for all that another has asked for.
ALTER TABLE work ADD COLUMN account_id TEXT NOT NULL DEFAULT '';
ALTER TABLE work ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
CREATE INDEX work_by_turn ON work (kind, turn, due_at);
CREATE INDEX work_by_account ON work (kind, account_id, turn);

-- What is forgotten once it has been over for long.
CREATE INDEX orders_by_expiry ON orders (expires_at, id);
CREATE INDEX authorizations_by_expiry ON authorizations (expires_at, id);
CREATE INDEX caa_checks_by_time ON caa_checks (checked_at);
