//! What may be issued to whom, and why not: the rules of `[policy]` and `[ca.policy]`.
//!
//! A rule that refuses wins over one that allows. Every answer names the rule, so that an operator
//! who is asked "why not?" finds the line.

mod binding;
mod pattern;
mod rate;
mod rule;
#[cfg(test)]
mod tests;

pub(crate) use binding::check_binding;
pub(crate) use pattern::NamePattern;
pub(crate) use rate::{check_usage, network_of, too_many_accounts};
pub(crate) use rule::{Origin, Refusal, Rule};

use crate::acme::identifier::Identifier;
use crate::config::{self, MAX_IDENTIFIERS};
use crate::x509::algorithm::{KeyType, ParameterSet};
use crate::x509::name_constraints::NameConstraints;

/// What one CA may issue.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    allow: Setting<Vec<NamePattern>>,
    deny: Setting<Vec<NamePattern>>,
    allow_networks: Setting<Vec<NamePattern>>,
    deny_networks: Setting<Vec<NamePattern>>,
    /// A `*` at the end is for whatever follows.
    allow_devices: Setting<Vec<String>>,
    wildcards: Setting<bool>,
    ip_addresses: Setting<bool>,
    single_labels: Setting<bool>,
    underscores: Setting<bool>,
    max_identifiers: Setting<usize>,
    key_types: Setting<Vec<&'static str>>,
    /// Of the CA's certificate and those above it.
    constraints: Vec<NameConstraints>,
}

/// A value, and which section it is from.
#[derive(Clone, Debug)]
struct Setting<T> {
    value: T,
    origin: Origin,
}

impl<T: Clone> Setting<T> {
    fn new(own: Option<&T>, general: Option<&T>, default: T) -> Self {
        match (own, general) {
            (Some(value), _) => Self { value: value.clone(), origin: Origin::CaPolicy },
            (None, Some(value)) => Self { value: value.clone(), origin: Origin::Policy },
            (None, None) => Self { value: default, origin: Origin::Default },
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let nothing = config::Policy::default();
        Self::new(&nothing, &nothing)
    }
}

impl Policy {
    /// Of a CA's own section, and the one for all.
    pub(crate) fn new(own: &config::Policy, general: &config::Policy) -> Self {
        macro_rules! setting {
            ($key:ident, $default:expr) => {
                Setting::new(own.$key.as_ref(), general.$key.as_ref(), $default)
            };
        }
        Self {
            allow: setting!(allow, Vec::new()),
            deny: setting!(deny, Vec::new()),
            allow_networks: setting!(allow_networks, Vec::new()),
            deny_networks: setting!(deny_networks, Vec::new()),
            allow_devices: setting!(allow_devices, Vec::new()),
            wildcards: setting!(wildcards, true),
            ip_addresses: setting!(ip_addresses, true),
            single_labels: setting!(single_labels, true),
            underscores: setting!(underscores, false),
            max_identifiers: setting!(max_identifiers, MAX_IDENTIFIERS),
            key_types: setting!(key_types, Vec::new()),
            constraints: Vec::new(),
        }
    }

    /// The same for a CA in whose name no client accepts other names than these.
    pub(crate) fn within(self, constraints: Vec<NameConstraints>) -> Self {
        Self { constraints, ..self }
    }

    /// Whether names with underscores may stand in a certificate.
    pub(crate) fn underscores(&self) -> bool {
        self.underscores.value
    }

    /// The rule by which the identifier may be had.
    ///
    /// # Errors
    /// The rule by which it may not.
    pub(crate) fn judge(&self, identifier: &Identifier) -> Result<Rule, Refusal> {
        if identifier.as_device().is_some() {
            return self.allowed_device(&identifier.value());
        }
        self.denied(identifier)?;
        match identifier.dns_name() {
            None => refuse_unless(
                &self.ip_addresses,
                "ip_addresses",
                "IP addresses are not issued here",
            )?,
            Some(name) => self.check_form(identifier, name)?,
        }
        self.check_constraints(identifier)?;
        self.allowed(identifier)
    }

    /// No client would accept a certificate that has another name (RFC 5280 §4.2.1.10).
    fn check_constraints(&self, identifier: &Identifier) -> Result<(), Refusal> {
        for constraints in &self.constraints {
            let checked = match identifier.as_ip() {
                Some(address) => constraints.check_ip(address),
                None => constraints.check_dns(&identifier.to_string()),
            };
            checked.map_err(|violation| Refusal {
                rule: Rule {
                    key: "nameConstraints",
                    value: Some(violation.to_string()),
                    origin: Origin::Certificate,
                },
                why: "the CA's own certificate does not let it be issued",
            })?;
        }
        Ok(())
    }

    fn denied(&self, identifier: &Identifier) -> Result<(), Refusal> {
        for (key, list) in [("deny", &self.deny), ("deny_networks", &self.deny_networks)] {
            let found = list.value.iter().find(|pattern| pattern.touches(identifier));
            if let Some(pattern) = found {
                let why = if identifier.is_wildcard() && !pattern.covers(identifier) {
                    "the wildcard would be good for a name that is not issued here"
                } else {
                    "it is not issued here"
                };
                return Err(Refusal { rule: rule(key, pattern, list.origin), why });
            }
        }
        Ok(())
    }

    fn check_form(&self, identifier: &Identifier, name: &str) -> Result<(), Refusal> {
        if identifier.has_underscore() {
            let why = "a name with an underscore is no host name, and not issued here";
            refuse_unless(&self.underscores, "underscores", why)?;
        }
        if !identifier.is_wildcard() {
            if name.contains('.') {
                return Ok(());
            }
            let why = "a name of a single label is not issued here; order its full name";
            return refuse_unless(&self.single_labels, "single_labels", why);
        }
        refuse_unless(&self.wildcards, "wildcards", "wildcards are not issued here")?;
        let named =
            |pattern: &NamePattern| matches!(pattern, NamePattern::OneBelow(base) if base == name);
        if !name.contains('.') && !self.allow.value.iter().any(named) {
            // A public suffix such as com, or a network's own: all its names at once.
            return Err(Refusal {
                rule: Rule { key: "allow", value: None, origin: self.allow.origin },
                why: "a wildcard directly below a top-level domain is only issued where allow has it",
            });
        }
        Ok(())
    }

    /// Whoever vouches for devices does so for many more than an operator has: none is allowed unless a
    /// list has it.
    fn allowed_device(&self, device: &str) -> Result<Rule, Refusal> {
        let Setting { value: patterns, origin } = &self.allow_devices;
        let has = |pattern: &&String| match pattern.strip_suffix('*') {
            Some(begin) => device.starts_with(begin),
            None => device == pattern.as_str(),
        };
        let rule = |value| Rule { key: "allow_devices", value, origin: *origin };
        match patterns.iter().find(has) {
            Some(pattern) => Ok(rule(Some(format!("{pattern:?}")))),
            None => Err(Refusal {
                rule: rule(None),
                why: "the device is not among those that are issued for here",
            }),
        }
    }

    /// Where there are lists of what is allowed, only what is in one of them is.
    fn allowed(&self, identifier: &Identifier) -> Result<Rule, Refusal> {
        let lists = [("allow", &self.allow), ("allow_networks", &self.allow_networks)];
        for (key, list) in lists {
            let found = list.value.iter().find(|pattern| pattern.covers(identifier));
            if let Some(pattern) = found {
                return Ok(rule(key, pattern, list.origin));
            }
        }
        let own = usize::from(identifier.as_ip().is_some());
        let (key, list) = lists[own];
        let nothing = |key, origin| Rule { key, value: None, origin };
        if lists.iter().all(|(_, list)| list.value.is_empty()) {
            return Ok(nothing(key, Origin::Default));
        }
        // The list for the other type is set alone: it is the one that leaves this out.
        let (key, list) = if list.value.is_empty() { lists[1 - own] } else { (key, list) };
        Err(Refusal { rule: nothing(key, list.origin), why: "it is not among what is issued here" })
    }

    /// Whether an order may have that many identifiers.
    pub(crate) fn check_count(&self, asked: usize) -> Result<(), Refusal> {
        let Setting { value, origin } = self.max_identifiers;
        if asked <= value {
            return Ok(());
        }
        Err(Refusal {
            rule: Rule { key: "max_identifiers", value: Some(value.to_string()), origin },
            why: "that is more than one certificate may have; place several orders",
        })
    }

    /// Whether a certificate may carry a key of this type.
    pub(crate) fn check_key(&self, key_type: KeyType) -> Result<(), Refusal> {
        let Setting { value, origin } = &self.key_types;
        let name = key_type_name(key_type);
        if value.is_empty() || value.iter().any(|known| *known == name) {
            return Ok(());
        }
        let list: Vec<_> = value.iter().map(|name| format!("{name:?}")).collect();
        let value = Some(format!("[{}]", list.join(", ")));
        Err(Refusal {
            rule: Rule { key: "key_types", value, origin: *origin },
            why: "a key of this type is not certified here",
        })
    }
}

fn refuse_unless(
    switch: &Setting<bool>,
    key: &'static str,
    why: &'static str,
) -> Result<(), Refusal> {
    if switch.value {
        return Ok(());
    }
    Err(Refusal { rule: Rule { key, value: Some("false".to_owned()), origin: switch.origin }, why })
}

fn rule(key: &'static str, pattern: &NamePattern, origin: Origin) -> Rule {
    Rule { key, value: Some(format!("\"{pattern}\"")), origin }
}

/// As `key_types` and `kipuka hsm keygen` call it.
pub(crate) fn key_type_name(key_type: KeyType) -> String {
    match key_type {
        KeyType::Rsa(bits) => format!("rsa-{bits}"),
        KeyType::EcP256 => "ec-p256".to_owned(),
        KeyType::EcP384 => "ec-p384".to_owned(),
        KeyType::EcP521 => "ec-p521".to_owned(),
        KeyType::Ed25519 => "ed25519".to_owned(),
        KeyType::MlDsa(ParameterSet::MlDsa44) => "ml-dsa-44".to_owned(),
        KeyType::MlDsa(ParameterSet::MlDsa65) => "ml-dsa-65".to_owned(),
        KeyType::MlDsa(ParameterSet::MlDsa87) => "ml-dsa-87".to_owned(),
    }
}
