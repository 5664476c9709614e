//! Time as an argument: the system's clock, or one that a test turns by hand.

use std::fmt;
#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in milliseconds since the Unix epoch, as the database stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(i64);

impl Timestamp {
    pub(crate) const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    pub(crate) const fn from_unix_s(s: i64) -> Self {
        Self(s.saturating_mul(1000))
    }

    pub(crate) const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Reads the `date-time` of RFC 3339 §5.6, fractions rounded towards the past; `None` for
    /// anything else: ISO 8601 has many forms more, and no certificate can hold a leap second.
    pub(crate) fn from_rfc3339(text: &str) -> Option<Self> {
        const SHAPE: &[u8] = b"0000-00-00T00:00:00";
        let text = text.to_ascii_uppercase();
        let (date_time, rest) = text.as_bytes().split_at_checked(SHAPE.len())?;
        let fits = |shape: &[u8], part: &[u8]| {
            shape.len() == part.len()
                && shape.iter().zip(part).all(|(shape, byte)| match shape {
                    b'0' => byte.is_ascii_digit(),
                    literal => literal == byte,
                })
        };
        let offset = match rest.strip_prefix(b".") {
            None => rest,
            Some(fraction) => {
                let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
                fraction.get(digits..).filter(|_| (1..=9).contains(&digits))?
            }
        };
        let offset_fits =
            offset == b"Z" || [&b"+00:00"[..], b"-00:00"].iter().any(|shape| fits(shape, offset));
        let below = |part: Option<&[u8]>, limit: &[u8]| part.is_none_or(|part| part < limit);
        let in_range = below(date_time.get(11..13), b"24")
            && below(date_time.get(17..), b"60")
            && below(offset.get(1..3), b"24")
            && below(offset.get(4..), b"60");
        if !fits(SHAPE, date_time) || !offset_fits || !in_range {
            return None;
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self::from_unix_s(Self::from_unix_ms(time.as_millisecond()).unix_s()))
    }

    /// Whole seconds, rounded towards the past.
    pub(crate) const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span_ms(span)))
    }

    pub(crate) fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span_ms(span)))
    }

    /// As HTTP writes it (RFC 9110 §5.6.7), to the second.
    pub(crate) fn http_date(self) -> String {
        let time = jiff::Timestamp::from_second(self.unix_s()).unwrap_or_default();
        time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// The time from `earlier` to `self`; zero where `earlier` is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn span_ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with whole seconds, as RFC 8555 §7.1.3 writes `expires`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.unix_s()) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{} ms after the epoch", self.0),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where "now" comes from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    /// Stands still until a test moves it.
    #[cfg(test)]
    Fake(Arc<AtomicI64>),
}

impl Clock {
    #[cfg(test)]
    pub(crate) fn fake(now: Timestamp) -> Self {
        Self::Fake(Arc::new(AtomicI64::new(now.0)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, span_ms))
            }
            #[cfg(test)]
            Self::Fake(ms) => Timestamp(ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fake clock forward; the system's clock stays as it is.
    #[cfg(test)]
    pub(crate) fn advance(&self, span: Duration) {
        if let Self::Fake(ms) = self {
            ms.fetch_add(span_ms(span), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_whole_seconds() {
        let time = Timestamp::from_unix_ms(1_700_000_000_999);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(time.http_date(), "Tue, 14 Nov 2023 22:13:20 GMT");
    }

    #[test]
    fn a_date_of_rfc_3339_is_read_and_no_other_form() {
        let second = Timestamp::from_unix_s(1_700_000_000);
        for good in [
            "2023-11-14T22:13:20Z",
            "2023-11-14t22:13:20z",
            "2023-11-14T22:13:20.999Z",
            "2023-11-14T22:13:20.123456789Z",
            "2023-11-14T23:13:20+01:00",
            "2023-11-14T16:43:20-05:30",
            "2023-11-14T22:13:20+00:00",
            "2023-11-14T22:13:20-00:00",
        ] {
            assert_eq!(Timestamp::from_rfc3339(good), Some(second), "{good}");
        }
        for bad in [
            "",
            "Z",
            "2023-11-14",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20Z",
            "20231114T221320Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20,5Z",
            "2023-11-14T22:13:20.1234567890Z",
            "2023-11-14T22:13:20+01",
            "2023-11-14T22:13:20+0100",
            "2023-11-14T22:13:20+25:00",
            "2023-11-14T22:13:20+01:00[Europe/Berlin]",
            "2023-11-14T22:13:20Z ",
            " 2023-11-14T22:13:20Z",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T23:59:60Z",
            "+02023-11-14T22:13:20Z",
            "2023-11-14T22:13:2éZ",
        ] {
            assert_eq!(Timestamp::from_rfc3339(bad), None, "{bad}");
        }
    }
}
