//! A `[[ca]]`: its certificate, its key, and what it puts into the certificates it issues.

mod ceremony;
mod checkpoint;
mod crl;
mod issue;
mod profile;
mod proof;

pub(crate) use ceremony::{
    CeremonyError, ImportError, Lifetime, NewCa, PreparedCa, import, prepare_ca, prepare_request,
    stand_in_key,
};
pub(crate) use crl::{CrlTerms, crl_issuer};
pub(crate) use issue::{SignFailure, Wanted};
pub(crate) use profile::NamedProfile;
pub(crate) use proof::{CaaMode, Proof};

use std::sync::Arc;
use std::time::Duration;

use crate::policy::Policy;
use crate::signer::Signer;
use crate::x509::chain::Chain;
use crate::x509::profile::Profile;

/// A CA that can issue.
pub(crate) struct Authority {
    /// The path segment that selects it.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) chain: Chain,
    /// Other chains for the same name and key (RFC 8555 §7.4.2).
    pub(crate) alternates: Vec<Chain>,
    /// The id under which the store keeps the chain.
    pub(crate) issuer_id: String,
    pub(crate) signer: Arc<dyn Signer>,
    /// By which orders are issued that name no other, and kipuka's own certificate.
    pub(crate) profile: Profile,
    /// Those that orders can name; an order that names none has the first.
    pub(crate) profiles: Vec<NamedProfile>,
    /// An authorization for a domain may stand for the names below it (RFC 9444).
    pub(crate) subdomain_authorizations: bool,
    /// How long a CRL is valid; `None` where the CA's certificate does not let its key sign any.
    pub(crate) crl_validity: Option<Duration>,
    /// What it may be asked for.
    pub(crate) policy: Policy,
    pub(crate) meta: Meta,
    pub(crate) proof: Proof,
}

/// What the directory and renewal information tell of a CA (RFC 8555 §7.1.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) terms_of_service: Option<String>,
    pub(crate) website: Option<String>,
    pub(crate) caa_identities: Vec<String>,
    /// Where renewal information says why it suggests what it does (RFC 9773 §4.2).
    pub(crate) renewal_explanation: Option<String>,
    /// Whether new accounts must be bound to an external one (RFC 8555 §7.3.4).
    pub(crate) external_account_required: bool,
}

/// Every CA of this process, in the order of the configuration; swapped as a whole on reload.
#[derive(Default)]
pub(crate) struct Authorities(Vec<Arc<Authority>>);

impl Authorities {
    pub(crate) fn new(authorities: Vec<Arc<Authority>>) -> Self {
        Self(authorities)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Authority>> {
        self.iter().find(|authority| authority.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.0.iter()
    }

    pub(crate) fn first(&self) -> Option<&Arc<Authority>> {
        self.0.first()
    }
}
