//! What every certificate of one CA has in common.

use serde::{Deserialize, Serialize};

/// How long before "now" a certificate begins, for clients whose clock is a little slow.
pub(crate) const BACKDATE_S: i64 = 60;

/// What a CA puts into the certificates of TLS servers; a request adds names and key. It is stored
/// with what is planned by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// From notBefore to notAfter, both included (RFC 5280 §4.1.2.5).
    pub(crate) validity_s: i64,
    pub(crate) backdate_s: i64,
    pub(crate) extended_key_usage: ExtendedKeyUsage,
    /// The URL of the CRL (RFC 5280 §4.2.1.13).
    pub(crate) crl_distribution_point: Option<String>,
    pub(crate) authority_information: AuthorityInformation,
    /// Repeat the first DNS name that fits as the subject's common name. Without it the subject is
    /// empty and the subjectAltName critical (RFC 5280 §4.1.2.6).
    pub(crate) common_name: bool,
    /// Say that the certificate is no CA's: a basicConstraints extension without `cA`. RFC 5280
    /// §4.2.1.9 leaves it to the CA; what was planned before it could be left out has it.
    #[serde(default = "yes")]
    pub(crate) basic_constraints: bool,
    /// Take DNS names with underscores, which are no host names, for names nevertheless.
    pub(crate) underscores: bool,
}

/// What the key may be used for in TLS (RFC 5280 §4.2.1.12). The profile decides, never the CSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExtendedKeyUsage {
    pub(crate) server_auth: bool,
    pub(crate) client_auth: bool,
}

/// Where more is known about the issuer (RFC 5280 §4.2.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorityInformation {
    /// The URL of the issuer's certificate.
    pub(crate) ca_issuers: Option<String>,
    /// The URL of the OCSP responder.
    pub(crate) ocsp: Option<String>,
}

impl AuthorityInformation {
    pub(crate) fn is_empty(&self) -> bool {
        self.ca_issuers.is_none() && self.ocsp.is_none()
    }
}

impl Profile {
    /// The profile of a TLS server's certificate, without URLs.
    pub(crate) fn tls_server(validity_s: i64) -> Self {
        Self {
            validity_s,
            backdate_s: BACKDATE_S,
            extended_key_usage: ExtendedKeyUsage { server_auth: true, client_auth: false },
            crl_distribution_point: None,
            authority_information: AuthorityInformation::default(),
            common_name: false,
            basic_constraints: true,
            underscores: false,
        }
    }
}

fn yes() -> bool {
    true
}
