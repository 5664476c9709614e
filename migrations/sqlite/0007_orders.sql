-- What a client asks of a certificate beside its names: dates (RFC 8555 §7.1.3), a profile
-- (draft-ietf-acme-profiles §4), and which certificate it replaces (RFC 9773 §5).
ALTER TABLE orders ADD COLUMN not_before BIGINT;
ALTER TABLE orders ADD COLUMN not_after BIGINT;
ALTER TABLE orders ADD COLUMN profile TEXT;
ALTER TABLE orders ADD COLUMN replaces TEXT;
CREATE INDEX orders_by_replaces ON orders (ca, replaces);

-- An authorization may stand for every name below its own (RFC 9444): then it has subdomains = 1, and
-- the order says which name it is used for.
ALTER TABLE authorizations ADD COLUMN subdomains BIGINT NOT NULL DEFAULT 0;
ALTER TABLE order_authorizations ADD COLUMN identifier TEXT;

-- The profile that a certificate was planned by, so that it can be planned again alike after the
-- configuration has changed.
ALTER TABLE certificates ADD COLUMN profile TEXT;
