//! What `--help` says of each command. A change shows as a difference to a file in `snapshots`;
//! `INSTA_UPDATE=always` takes it over, to be read before it is committed.

use std::process::Command;

use crate::BINARY;

fn help(command: &str) -> String {
    let mut kipuka = Command::new(BINARY);
    kipuka.args(command.split_whitespace()).arg("--help").env_remove("KIPUKA_CONFIG");
    harness::command::run(&mut kipuka)
}

#[test]
fn help_is_as_it_was_reviewed() {
    for command in [
        "hsm",
        "hsm slots",
        "hsm keys",
        "hsm keygen",
        "hsm bench",
        "hsm init-token",
        "ca",
        "ca create-root",
        "ca create-intermediate",
        "ca sign-csr",
        "ca import",
        "ca cross-sign",
        "ca show",
        "ca verify",
        "account",
        "account list",
        "account show",
        "account deactivate",
        "eab",
        "eab create",
        "eab list",
        "eab revoke",
        "audit",
        "audit verify",
        "audit list",
        "audit export",
        "audit checkpoint",
        "cert",
        "cert list",
        "cert show",
        "cert revoke",
        "policy explain",
        "order",
        "order list",
        "order show",
    ] {
        let name = format!("kipuka {command}").trim().replace(' ', "-");
        insta::assert_snapshot!(name, help(command));
    }
}
