//! Ports for programs that are told theirs.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command;

/// Below those that the system gives to whoever connects somewhere.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A TCP port on loopback on which nobody listens, and which no other test is given while this
/// exists: a server that is stopped finds it free when it starts again.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _held: File,
}

impl Port {
    pub fn reserve() -> Self {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let folder = env::temp_dir().join(format!("kipuka-test-ports-{}", command::user_id()));
        fs::create_dir_all(&folder).unwrap();
        // Each process begins elsewhere.
        let begin = std::process::id().wrapping_mul(37);
        for _ in 0..COUNT {
            let tried = TRIED.fetch_add(1, Ordering::Relaxed);
            let number = u16::try_from(FIRST + begin.wrapping_add(tried) % COUNT).unwrap();
            let held = File::create(folder.join(number.to_string())).unwrap();
            let is_ours = held.try_lock().is_ok();
            if is_ours && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _held: held };
            }
        }
        panic!("no port between {FIRST} and {} is free", FIRST + COUNT);
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
