//! Certificate revocation lists (RFC 5280 §5): the part that is signed.

use std::time::Duration;

use der::asn1::{Any, Uint};
use der::{DateTime, Decode, Encode, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::CrlReason;
use x509_cert::time::Time;

use super::algorithm::SignatureAlgorithm;
use super::extensions;
use super::issuer::IssuerCertificate;
use super::serial::Serial;

/// Why a certificate was revoked: the reasons of RFC 5280 §5.3.1 that kipuka takes. Left out are those
/// of a CA or an attribute authority (cACompromise, aACompromise), and those that could be undone
/// (certificateHold, removeFromCRL): a revocation is for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

impl Reason {
    pub(crate) const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The number of the `CRLReason`.
    pub(crate) const fn code(self) -> i64 {
        self.crl_reason() as i64
    }

    /// The reason as DER has it.
    pub(super) const fn crl_reason(self) -> CrlReason {
        match self {
            Self::Unspecified => CrlReason::Unspecified,
            Self::KeyCompromise => CrlReason::KeyCompromise,
            Self::AffiliationChanged => CrlReason::AffiliationChanged,
            Self::Superseded => CrlReason::Superseded,
            Self::CessationOfOperation => CrlReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
        }
    }

    /// RFC 5280's name of it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// A certificate on the list (RFC 5280 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) serial: Serial,
    pub(crate) revoked_at_s: i64,
    pub(crate) reason: Reason,
}

/// What a complete CRL is to say. It tells [`Self::tbs`] what to write and
/// [`super::lint::lint_revocation_list`] what to find.
///
/// It has no issuingDistributionPoint: a list of all that an issuer revoked needs none (RFC 5280
/// §5.2.5), and since the extension is critical some clients refuse a list that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevocationList<'a> {
    pub(crate) issuer: &'a IssuerCertificate,
    /// What the issuer's key signs with.
    pub(crate) algorithm: SignatureAlgorithm,
    /// Higher than that of every list before it (RFC 5280 §5.2.3).
    pub(crate) number: u64,
    pub(crate) this_update_s: i64,
    pub(crate) next_update_s: i64,
    /// Each serial once.
    pub(crate) entries: &'a [Entry],
}

impl RevocationList<'_> {
    /// The DER of the `TBSCertList` (RFC 5280 §5.1.2). Nothing may sign it before it is linted.
    pub(crate) fn tbs(&self) -> Result<Vec<u8>, der::Error> {
        let revoked = self.entries.iter().map(revoked_certificate);
        let revoked = revoked.collect::<Result<Vec<_>, _>>()?;
        let tbs = TbsCertList {
            version: VERSION_2,
            signature: self.algorithm.identifier(),
            issuer: Any::from_der(self.issuer.subject_der())?,
            this_update: time(self.this_update_s)?,
            next_update: time(self.next_update_s)?,
            // RFC 5280 §5.1.2.6: absent where there is none.
            revoked_certificates: (!revoked.is_empty()).then_some(revoked),
            extensions: vec![
                extensions::authority_key_identifier(self.issuer.subject_key_identifier())?,
                extensions::crl_number(self.number)?,
            ],
        };
        tbs.to_der()
    }
}

fn revoked_certificate(entry: &Entry) -> Result<RevokedCertificate, der::Error> {
    let reason = match entry.reason {
        // RFC 5280 §5.3.1: left out rather than said.
        Reason::Unspecified => None,
        reason => Some(vec![extensions::reason_code(reason.crl_reason())?]),
    };
    Ok(RevokedCertificate {
        serial: Uint::new(entry.serial.as_bytes())?,
        revocation_date: time(entry.revoked_at_s)?,
        extensions: reason,
    })
}

const VERSION_2: u8 = 1;

/// RFC 5280 §5.1. The issuer's name is copied as it is.
#[derive(Sequence)]
struct TbsCertList {
    version: u8,
    signature: AlgorithmIdentifierOwned,
    issuer: Any,
    this_update: Time,
    next_update: Time,
    #[asn1(optional = "true")]
    revoked_certificates: Option<Vec<RevokedCertificate>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct RevokedCertificate {
    serial: Uint,
    revocation_date: Time,
    #[asn1(optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// `UTCTime` to the end of 2049, `GeneralizedTime` from then on (RFC 5280 §5.1.2.4).
fn time(unix_s: i64) -> Result<Time, der::Error> {
    let since_epoch = Duration::from_secs(u64::try_from(unix_s).unwrap_or(0));
    Ok(DateTime::from_unix_duration(since_epoch)?.into())
}
