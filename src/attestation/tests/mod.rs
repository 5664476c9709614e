//! Statements of each format, made as the makers of devices describe them, and each thing that may be
//! wrong with them.

mod formats;
mod object;

use harness::attestation::{Device, FORMATS, Statement, Vendor};
use harness::csr;
use openssl::pkey::{PKey, Private};

use super::*;

const NOW_S: i64 = 1_800_000_000;
const DAY_S: i64 = 24 * 3600;
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
const KEY_AUTHORIZATION: &str =
    "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";
const SERIAL: &str = "12345678";

/// A vendor with one device, and who trusts it.
struct Site {
    vendor: Vendor,
    key: PKey<Private>,
    roots: Roots,
}

impl Site {
    fn new() -> Self {
        Self::with(csr::p256())
    }

    fn with(key: PKey<Private>) -> Self {
        let vendor = Vendor::new("test");
        let roots = roots(&vendor.root_pem());
        Self { vendor, key, roots }
    }

    fn device(&self) -> Device<'_> {
        Device {
            vendor: &self.vendor,
            key: &self.key,
            serial: SERIAL,
            token: TOKEN,
            key_authorization: KEY_AUTHORIZATION,
            now_s: NOW_S,
        }
    }

    fn verify(&self, statement: &Statement) -> Result<Attested, AttestationError> {
        verify(&statement.object(), &self.roots, &expected())
    }

    /// Why a statement does not count.
    #[track_caller]
    fn refusal(&self, statement: &Statement) -> AttestationError {
        let refused = self.verify(statement);
        refused.expect_err(statement.format)
    }
}

fn roots(pem: &str) -> Roots {
    let mut roots = Roots::default();
    roots.add_pem(pem).unwrap();
    roots
}

fn expected() -> Expected<'static> {
    Expected {
        token: TOKEN,
        key_authorization: KEY_AUTHORIZATION,
        device: SERIAL,
        assigner: None,
        now_s: NOW_S,
    }
}
