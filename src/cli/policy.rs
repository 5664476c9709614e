//! `kipuka policy`: what the rules of the configuration say.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::account::find;
use super::{Failure, load, print_json, print_listing, with_store};
use crate::acme::account::{Account, AccountStatus};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::config::{Ca, CaaMode, Config, Needs};
use crate::policy::{Policy, Rule, check_binding};
use crate::x509::chain::Chain;
use crate::x509::name_constraints::NameConstraints;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say of each name whether it is issued, and by which rule; exit code 1 where one is not
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The CA, by its id
    #[arg(long, value_name = "ID")]
    ca: String,
    /// An account of it, by its id or URL: what bound it may allow less
    #[arg(long, value_name = "ACCOUNT", allow_hyphen_values = true)]
    account: Option<String>,
    /// DNS names and IP addresses, as one order would have them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn policy(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Explain(arguments) => match &arguments.account {
            None => explain(&load(config, Needs::Text)?.0, None, arguments),
            Some(account) => with_store(config, async |config, store| {
                explain(config, Some(&find(store, account).await?), arguments)
            }),
        },
    }
}

fn explain(config: &Config, account: Option<&Account>, arguments: &Explain) -> Result<(), Failure> {
    let Some(ca) = config.cas.iter().find(|ca| ca.id == arguments.ca) else {
        let ids: Vec<_> = config.cas.iter().map(|ca| ca.id.as_str()).collect();
        return Err(Failure::Misconfigured(format!(
            "kipuka: there is no CA {:?} in {}; there are: {}",
            arguments.ca,
            config.file.display(),
            ids.join(", ")
        )));
    };
    if let Some(account) = account.filter(|account| account.ca != ca.id) {
        let Account { id, ca, .. } = account;
        let text = format!("kipuka: the account {id} is one of the CA {ca:?}");
        return Err(Failure::Misconfigured(text));
    }
    let policy = Policy::new(&ca.policy, &ca.general_policy).within(constraints(ca));
    let offered: Vec<_> =
        ca.challenges.iter().filter_map(|name| ChallengeType::from_name(name)).collect();
    let names = arguments.names.iter();
    let answers: Vec<_> = names.map(|name| Answer::new(&policy, account, &offered, name)).collect();
    let too_many = policy.check_count(answers.len()).err();
    if arguments.json {
        let object = json!({
            "ca": ca.id,
            "account": account.map(|account| &account.id),
            "caa": caa(ca.caa),
            "names": answers.iter().map(Answer::json).collect::<Vec<_>>(),
            "order": match &too_many {
                None => json!({ "issued": true }),
                Some(refusal) => json!({
                    "issued": false,
                    "reason": refusal.why,
                    "rule": rule_json(&refusal.rule),
                }),
            },
        });
        print_json(&object)?;
    } else {
        let mut text: String = answers.iter().map(|answer| answer.line(ca.caa)).collect();
        if let Some(refusal) = &too_many {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} names in one order: no: {refusal}", answers.len());
        }
        print_listing(&text)?;
    }
    let refused = answers.iter().filter(|answer| answer.verdict.is_err()).count();
    match (refused, too_many) {
        (0, None) => Ok(()),
        (0, Some(_)) => Err(Failure::Failed("these names are too many for one order".to_owned())),
        (refused, _) => {
            let all = answers.len();
            Err(Failure::Failed(format!("{refused} of {all} names would not be issued")))
        }
    }
}

/// What the CA's certificate leaves out. A configuration may be tried where its certificate is not.
fn constraints(ca: &Ca) -> Vec<NameConstraints> {
    let read = fs::read_to_string(&ca.cert).map_err(|error| error.to_string());
    match read.and_then(|text| Chain::from_pem(&text).map_err(|error| error.to_string())) {
        Ok(chain) => chain.name_constraints(),
        Err(error) => {
            let path = ca.cert.display();
            eprintln!("kipuka: {path}: {error}; what this certificate leaves out is not looked at");
            Vec::new()
        }
    }
}

/// As `caa` is set to it.
fn caa(mode: CaaMode) -> &'static str {
    match mode {
        CaaMode::Off => "off",
        CaaMode::Report => "report",
        CaaMode::Enforce => "enforce",
    }
}

/// What is said of one name.
struct Answer<'n> {
    given: &'n str,
    identifier: Option<Identifier>,
    /// The types of challenge that an authorization would offer.
    challenges: Vec<&'static str>,
    /// What decides, or why not, with the rule if it was one.
    verdict: Result<Rule, (String, Option<Rule>)>,
}

impl<'n> Answer<'n> {
    fn new(
        policy: &Policy,
        account: Option<&Account>,
        offered: &[ChallengeType],
        given: &'n str,
    ) -> Self {
        let refused = |why, rule| (why, Some(rule));
        let (identifier, verdict) = match Identifier::named(given) {
            Err(problem) => (None, Err((problem.detail, None))),
            Ok(identifier) => {
                let verdict =
                    policy.judge(&identifier).map_err(|no| refused(no.why.to_owned(), no.rule));
                let verdict = verdict.and_then(|rule| match check_account(account, &identifier) {
                    Ok(()) => Ok(rule),
                    Err(why) => Err((why, None)),
                });
                (Some(identifier), verdict)
            }
        };
        let mut answer = Self { given, identifier, challenges: Vec::new(), verdict };
        if let (Some(identifier), Ok(_)) = (&answer.identifier, &answer.verdict) {
            let fitting = offered.iter().filter(|kind| kind.proves(identifier));
            answer.challenges = fitting.map(|kind| kind.as_str()).collect();
            if answer.challenges.is_empty() {
                let why = "none of the CA's challenges can prove it; see challenges in [[ca]]";
                answer.verdict = Err((why.to_owned(), None));
            }
        }
        answer
    }

    fn line(&self, mode: CaaMode) -> String {
        let name = match &self.identifier {
            Some(identifier) => identifier.to_string(),
            None => format!("{:?}", self.given),
        };
        match &self.verdict {
            Ok(rule) => {
                let records = match mode {
                    CaaMode::Off => String::new(),
                    mode => format!("; caa = {:?}", caa(mode)),
                };
                let challenges = self.challenges.join(", ");
                format!("{name}: yes: {rule}; proved by {challenges}{records}\n")
            }
            Err((why, Some(rule))) => format!("{name}: no: {why} ({rule})\n"),
            Err((why, None)) => format!("{name}: no: {why}\n"),
        }
    }

    fn json(&self) -> Value {
        let identifier = self
            .identifier
            .as_ref()
            .map(|identifier| json!({ "type": identifier.kind(), "value": identifier.value() }));
        let (reason, rule) = match &self.verdict {
            Ok(rule) => (None, Some(rule)),
            Err((why, rule)) => (Some(why), rule.as_ref()),
        };
        json!({
            "name": self.given,
            "identifier": identifier,
            "issued": self.verdict.is_ok(),
            "reason": reason,
            "rule": rule.map(rule_json),
            "challenges": self.challenges,
        })
    }
}

/// What the account's own state and binding say.
fn check_account(account: Option<&Account>, identifier: &Identifier) -> Result<(), String> {
    let Some(account) = account else { return Ok(()) };
    match account.status() {
        AccountStatus::Valid => check_binding(account.binding.as_ref(), identifier),
        AccountStatus::Deactivated => Err("the account is deactivated".to_owned()),
    }
}

/// A rule: its key, its value as TOML writes it, and its section; `null` where nothing in a list
/// matched, and where no section has the key.
fn rule_json(rule: &Rule) -> Value {
    json!({ "key": rule.key, "value": rule.value, "section": rule.origin.section() })
}
