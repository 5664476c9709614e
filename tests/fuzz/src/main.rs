//! One program for all targets: `KIPUKA_FUZZ_TARGET` says which. `run.sh` builds and runs it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("KIPUKA_FUZZ_TARGET").unwrap_or_default();
    let found = kipuka::fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    let known: Vec<_> = kipuka::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("KIPUKA_FUZZ_TARGET must be one of {known:?}")).1
}

fuzz_target!(|input: &[u8]| TARGET.get_or_init(chosen)(input));
