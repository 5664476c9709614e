-- What a client answers a challenge with, until it is validated: a device's attestation object.
ALTER TABLE challenges ADD COLUMN response BYTEA;

-- The key that a device attested: the SHA-256 of its SubjectPublicKeyInfo, in hex.
ALTER TABLE challenges ADD COLUMN attested_key TEXT;
