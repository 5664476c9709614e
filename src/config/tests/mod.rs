//! What kipuka.toml may say, and what is answered to what it may not.

mod arbitrary;
mod ca;
mod examples;
mod files;
mod founding;
mod limits;
mod mistakes;
mod pin;
mod policy;
mod profile;
mod sections;

use std::path::Path;

use super::*;

/// A whole configuration but for the token's PIN and the CA's key.
const MINIMAL: &str = "[hsm]
library = \"/lib/token.so\"
token_label = \"kipuka\"
[[ca]]
id = \"a\"
cert = \"/etc/a.pem\"
hsm_slot = 1
";

fn no_env(_: &str) -> Option<String> {
    None
}

/// Reads `text` as the file /etc/kipuka/kipuka.toml, and looks at no other file.
fn read_text(text: &str) -> Result<(Config, Vec<Warning>), Errors> {
    parse(Path::new("/etc/kipuka/kipuka.toml"), text, &no_env, Needs::Text)
}

fn good(text: &str) -> Config {
    read_text(text).unwrap_or_else(|errors| panic!("{errors}")).0
}

/// The mistakes in `text` as `(line, key)`, and all that is said about them.
fn wrong(text: &str) -> (Vec<(usize, String)>, String) {
    let errors = read_text(text).expect_err("this is wrong");
    let places = errors.mistakes().iter().map(|m| (m.line.unwrap_or(0), m.key.clone())).collect();
    (places, errors.to_string())
}

/// There is one mistake in `text`: on `line`, about `key`, and what is said contains `said`.
#[track_caller]
fn assert_wrong(text: &str, line: usize, key: &str, said: &str) {
    let (places, message) = wrong(text);
    assert_eq!(places, [(line, key.to_owned())], "{message}");
    assert!(message.contains(said), "{message}");
}
