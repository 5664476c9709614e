//! Real ACME clients against a real kipuka; the tests are in `all.rs`.
