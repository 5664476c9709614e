//! The rules that carry the house, as data, and the check of one file against them.

use std::fmt;

use crate::scan;

/// Modules of one section never import one another.
const APART: &[(&str, &str)] = &[
    ("ports", "a port is one kind of IO; where two meet is a flow"),
    ("edges", "an edge is between the outside and flow, not between outsides"),
];

/// A module that may import less than what stands above it.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("clock", &[], "the ground stands on nothing"),
    ("entropy", &[], "the ground stands on nothing"),
    ("telemetry", &["config"], "all may log and count, so it knows none of them"),
    ("config", &[], "the sections are plain values that every room can read"),
    ("jose", &[], "RFC 7515 to 7638 know nothing of ACME or of this program"),
    ("x509", &[], "RFC 5280: bytes in, bytes out"),
    ("attestation", &["x509"], "what a device says is bytes in, a key out"),
    ("acme", &["jose", "clock"], "the rules of RFC 8555 are values in, values out"),
    (
        "policy",
        &["config", "acme", "x509", "clock"],
        "what may be issued follows from the configuration, what is asked and what there is already",
    ),
    ("ledger", &["clock"], "entries are text and hashes, whatever they are about"),
    (
        "store",
        &["acme", "ledger", "clock", "entropy", "telemetry"],
        "it remembers facts and decides nothing",
    ),
    (
        "signer",
        &["x509", "clock", "entropy", "telemetry"],
        "a signer knows keys, not what is signed with them",
    ),
    (
        "validation",
        &["acme", "clock", "telemetry"],
        "it looks at the network and remembers nothing",
    ),
];

/// A crate that is named in these places and nowhere else.
const KEPT: &[(&str, &[&str], &str)] = &[
    ("sqlx", &["src/store/"], "the store is the only one that knows the databases"),
    ("cryptoki", &["src/signer/pkcs11/"], "the rest knows signers, not PKCS#11"),
    ("axum", &["src/http/"], "flows can be called without HTTP"),
    (
        "hyper",
        &["src/http/", "src/validation/", "src/telemetry/traces/"],
        "flows can be called without HTTP",
    ),
    ("clap", &["src/cli/"], "the rest can be used without a command line"),
    (
        "josekit",
        &["src/jose/verify.rs"],
        "it verifies and does nothing else: our parsers are strict",
    ),
    ("hmac", &["src/acme/nonce.rs"], "all other cryptography is OpenSSL's"),
    ("sha2", &["src/acme/nonce.rs"], "all other cryptography is OpenSSL's"),
    ("minicbor", &["src/attestation/"], "only devices speak CBOR"),
    ("hickory_resolver", &["src/validation/"], "names are resolved where the network is looked at"),
];

const UPWARDS: &str = "a module imports only what stands above it in src/lib.rs, so each is understood without those below";
const SQL: &str = "all SQL is in src/store, beside the method that needs it";

/// The modules of `src/lib.rs`, from top to bottom, each with its section.
pub(crate) struct House {
    modules: Vec<(String, String)>,
}

impl House {
    /// A section starts with a comment (`// ports: one kind of IO each`).
    pub(crate) fn read(lib: &str) -> Self {
        let mut section = String::new();
        let mut modules = Vec::new();
        for line in lib.lines() {
            if let Some(comment) = line.strip_prefix("// ") {
                section = comment.split(':').next().unwrap_or(comment).trim().to_owned();
            }
            let module = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
            if let Some((name, _)) = module.and_then(|module| module.split_once(';')) {
                modules.push((name.to_owned(), section.clone()));
            }
        }
        Self { modules }
    }

    pub(crate) fn len(&self) -> usize {
        self.modules.len()
    }

    /// Rules about modules that are not there would hold nothing.
    pub(crate) fn unknown(&self) -> Vec<&'static str> {
        let named = ONLY.iter().flat_map(|(name, may, _)| may.iter().chain([name]));
        let sections = APART.iter().map(|(section, _)| section);
        named
            .filter(|name| self.place(name).is_none())
            .chain(sections.filter(|name| !self.modules.iter().any(|(_, s)| s == *name)))
            .copied()
            .collect()
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.modules.iter().position(|(module, _)| module == name)
    }

    fn refusal(&self, from: &str, to: &str) -> Option<String> {
        let Some(target) = self.place(to) else {
            return Some(format!("{to} is not a module of src/lib.rs: name the module it is from"));
        };
        let source = self.place(from)?;
        if source == target {
            return None;
        }
        let section = &self.modules[source].1;
        let apart = APART.iter().find(|(name, _)| name == section);
        if let Some((name, reason)) = apart.filter(|_| self.modules[target].1 == *section) {
            return Some(format!("{name} never import one another: {reason}"));
        }
        if let Some((_, may, reason)) = ONLY.iter().find(|(name, ..)| *name == from)
            && !may.contains(&to)
        {
            let may = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
            return Some(format!("{from} may import {may} of this crate: {reason}"));
        }
        (target > source).then(|| format!("{to} stands below {from}: {UPWARDS}"))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    {}", self.file, self.line, self.what, self.rule)
    }
}

/// `file` is relative to the root of the repository.
pub(crate) fn check(house: &House, file: &str, source: &str) -> Vec<Violation> {
    let module = module_of(file);
    let facts = scan::facts(source, &module);
    let mut violations = Vec::new();
    let mut refuse = |line, what: String, rule: String| {
        violations.push(Violation { file: file.to_owned(), line, what, rule });
    };
    if let Some(room) = module.first() {
        for named in &facts.inner {
            let what = format!("crate::{}", named.path.join("::"));
            let to = named.path.first().map_or("*", String::as_str);
            if let Some(rule) = house.refusal(room, to) {
                refuse(named.line, what, rule);
            }
        }
    }
    for named in &facts.outer {
        let kept = KEPT.iter().find(|(name, ..)| named.path.first().is_some_and(|n| n == name));
        if let Some((name, places, reason)) = kept
            && !places.iter().any(|place| file.starts_with(place))
        {
            let rule = format!("{name} is named only below {}: {reason}", places.join(" and "));
            refuse(named.line, named.path.join("::"), rule);
        }
    }
    if !file.starts_with("src/store/") {
        for (line, text) in facts.strings.iter().filter(|(_, text)| is_sql(text)) {
            refuse(*line, format!("{text:?}"), SQL.to_owned());
        }
    }
    violations
}

fn is_sql(text: &str) -> bool {
    let update = text.find("UPDATE ").is_some_and(|at| text[at..].contains(" SET "));
    update || ["SELECT ", "INSERT INTO", "DELETE FROM"].iter().any(|verb| text.contains(verb))
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`; `src/lib.rs` is the root and has no name.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}
