//! From when to when a certificate is valid (RFC 5280 §4.1.2.5), where a client may ask for less than
//! its profile gives (RFC 8555 §7.4).

use super::issuer::IssuerCertificate;
use super::profile::Profile;

/// The dates that a client asks for, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestedDates {
    pub(crate) not_before_s: Option<i64>,
    /// The last second.
    pub(crate) not_after_s: Option<i64>,
}

/// Why a client cannot have the dates that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatesError {
    #[error("notBefore does not lie before notAfter")]
    Order,
    #[error("notBefore lies in the past")]
    Past,
    #[error("the certificate's end lies in the past")]
    Over,
    #[error("notBefore lies after the end of every certificate that could be issued now")]
    TooLate,
    #[error("certificates last {} hours at most here, counted from now", .validity_s / 3600)]
    TooLong { validity_s: i64 },
    #[error("the CA's own certificate is not valid for all of that time")]
    OutsideIssuer,
}

impl RequestedDates {
    /// Whether a client may ask for these: within what a certificate that begins now could have, so
    /// that nobody certifies today what holds in a year.
    pub(crate) fn check(
        self,
        profile: &Profile,
        issuer: &IssuerCertificate,
        now_s: i64,
    ) -> Result<(), DatesError> {
        self.check_from(now_s.saturating_sub(profile.backdate_s), profile, issuer, now_s)
    }

    /// Whether a client may still have what it asked for before: what the CA gives may have changed
    /// since, and by now the beginning may well lie in the past.
    pub(crate) fn check_again(
        self,
        profile: &Profile,
        issuer: &IssuerCertificate,
        now_s: i64,
    ) -> Result<(), DatesError> {
        self.check_from(i64::MIN, profile, issuer, now_s)
    }

    fn check_from(
        self,
        earliest_s: i64,
        profile: &Profile,
        issuer: &IssuerCertificate,
        now_s: i64,
    ) -> Result<(), DatesError> {
        if self == Self::default() {
            return Ok(());
        }
        let validity_s = profile.validity_s;
        let end_s = self.not_after_s.unwrap_or(i64::MIN);
        if self.not_after_s.is_some() && end_s <= now_s {
            return Err(DatesError::Over);
        }
        // The client takes "now" and adds the validity: no more than a second is lost on the way.
        if end_s > now_s.saturating_add(validity_s) {
            return Err(DatesError::TooLong { validity_s });
        }
        if let Some(not_before_s) = self.not_before_s {
            if not_before_s < earliest_s {
                return Err(DatesError::Past);
            }
            if self.not_after_s.is_some_and(|not_after_s| not_after_s <= not_before_s) {
                return Err(DatesError::Order);
            }
            if self
                .not_after_s
                .is_some_and(|end_s| end_s.saturating_sub(not_before_s) >= validity_s)
            {
                return Err(DatesError::TooLong { validity_s });
            }
        }
        let (not_before_s, not_after_s) = self.resolve(profile, issuer, now_s);
        if not_before_s >= not_after_s {
            return Err(DatesError::TooLate);
        }
        if not_after_s <= now_s {
            return Err(DatesError::Over);
        }
        if not_before_s < issuer.not_before_s() || not_after_s > issuer.not_after_s() {
            return Err(DatesError::OutsideIssuer);
        }
        Ok(())
    }

    /// The first and the last second of a certificate that is planned now: what was asked for, else
    /// from `backdate_s` before now and for `validity_s`, yet within the validity of the CA's own
    /// certificate.
    pub(super) fn resolve(
        self,
        profile: &Profile,
        issuer: &IssuerCertificate,
        now_s: i64,
    ) -> (i64, i64) {
        let validity_s = profile.validity_s;
        let begin_s = now_s.saturating_sub(profile.backdate_s).max(issuer.not_before_s());
        match (self.not_before_s, self.not_after_s) {
            (Some(not_before_s), Some(not_after_s)) => (not_before_s, not_after_s),
            // An end that a backdated beginning would put out of reach moves the beginning.
            (None, Some(not_after_s)) => {
                (begin_s.max(not_after_s.saturating_sub(validity_s).saturating_add(1)), not_after_s)
            }
            (asked, None) => {
                let not_before_s = asked.unwrap_or(begin_s);
                let end_s = last_second(not_before_s.min(begin_s), validity_s);
                (not_before_s, end_s.min(issuer.not_after_s()))
            }
        }
    }
}

/// RFC 5280 §4.1.2.5: the last second belongs to the validity.
pub(super) fn last_second(not_before_s: i64, validity_s: i64) -> i64 {
    not_before_s.saturating_add(validity_s).saturating_sub(1)
}
