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

    /// Whole seconds, rounded towards the past.
    pub(crate) const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span_ms(span)))
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
}
