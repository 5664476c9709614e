//! kipuka as its operator sees it: the command line, reload, the documented ways.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod algorithms;
mod audit;
mod backup;
mod ceremony;
mod certificates;
mod command_line;
mod compose;
mod dev;
mod founding_document;
mod help;
mod logs;
mod monitoring;
mod operate;
mod policy;
mod readme;
mod reload;
mod start;
mod systemd;
mod traces;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");
