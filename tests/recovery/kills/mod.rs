//! SIGKILL at random and at every point where something is signed or committed, while clients work;
//! and then the proof that nothing was lost, doubled or forgotten (`harness::proof`).
//!
//! There is no code for it in kipuka. It is killed from outside: by a relay that understands what goes to
//! Postgres, by a library under SQLite's writes, by a PKCS#11 module around `C_Sign`.
//!
//! `KIPUKA_TEST_KILLS=500` has each of the random tests kill so often.

mod points;
mod random;
mod signatures;
