//! When a certificate should be renewed, and how it is named for that (RFC 9773).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;

use crate::clock::Timestamp;

/// Longer than any that a CA makes.
const MAX_TEXT: usize = 200;
/// Octets of a serial at most (RFC 5280 §4.1.2.2).
const MAX_SERIAL: usize = 20;

/// The identifier of a certificate (RFC 9773 §4.1). It has one text and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertId {
    /// The keyIdentifier of its authorityKeyIdentifier extension.
    pub(crate) key_identifier: Vec<u8>,
    /// The content of the serial's INTEGER.
    serial: Vec<u8>,
}

impl CertId {
    /// Reads base64url without padding, twice, with a dot between; the serial as DER has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let (key_identifier, serial) = text.split_once('.')?;
        let key_identifier = URL_SAFE_NO_PAD.decode(key_identifier).ok()?;
        let serial = URL_SAFE_NO_PAD.decode(serial).ok()?;
        let minimal = match serial.as_slice() {
            [] => false,
            [0, second, ..] => *second >= 0x80,
            // Zero and negative numbers are no serials.
            [0] | [0x80..=0xff, ..] => false,
            _ => true,
        };
        if key_identifier.is_empty() || !minimal || serial.len() > MAX_SERIAL {
            return None;
        }
        Some(Self { key_identifier, serial })
    }

    /// In lower-case hex.
    pub(crate) fn serial(&self) -> String {
        HEXLOWER.encode(&self.serial)
    }
}

/// A certificate of fewer days is renewed when half of its life is over, as clients do by themselves:
/// a third of a short life leaves too little time for a second try.
const SHORT_LIFE_S: i64 = 10 * 24 * 3600;
/// The longest that clients go without asking again, in seconds.
const LONGEST_RETRY_S: i64 = 6 * 3600;
const SHORTEST_RETRY_S: i64 = 60;
const DAY_S: i64 = 24 * 3600;

/// What is suggested to the holder of a certificate (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RenewalInfo {
    pub(crate) start: Timestamp,
    /// Later than `start`.
    pub(crate) end: Timestamp,
    /// When to ask again, in seconds.
    pub(crate) retry_after_s: u32,
}

impl RenewalInfo {
    /// The window begins with the last third of the certificate's life and ends halfway to its end:
    /// clients choose any time within it, and the rest is for attempts that fail. It is over where
    /// the certificate was revoked, also for clients whose clock is a day late.
    pub(crate) fn of(
        not_before: Timestamp,
        not_after: Timestamp,
        revoked_at: Option<Timestamp>,
    ) -> Self {
        let begin_s = not_before.unix_s();
        let life_s = not_after.unix_s().saturating_sub(begin_s).max(0);
        let (start_s, end_s) = match revoked_at {
            Some(revoked_at) => (revoked_at.unix_s() - 2 * DAY_S, revoked_at.unix_s() - DAY_S),
            None if life_s < SHORT_LIFE_S => (begin_s + life_s / 2, begin_s + life_s / 4 * 3),
            None => (begin_s + life_s / 3 * 2, begin_s + life_s / 6 * 5),
        };
        let retry_s = (life_s / 24).clamp(SHORTEST_RETRY_S, LONGEST_RETRY_S);
        Self {
            start: Timestamp::from_unix_s(start_s),
            end: Timestamp::from_unix_s(end_s.max(start_s + 1)),
            retry_after_s: u32::try_from(retry_s).unwrap_or(3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_9773_is_read() {
        let id = CertId::parse("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").unwrap();
        assert_eq!((id.key_identifier.len(), id.key_identifier[0]), (20, 0x69));
        assert_eq!(id.serial(), "0087654321");
    }

    #[test]
    fn what_is_not_the_one_text_of_an_identifier_is_none() {
        let long = format!("{}.AQ", "A".repeat(200));
        let long_serial = format!("AQ.{}", URL_SAFE_NO_PAD.encode([1; 21]));
        for bad in [
            "",
            ".",
            "AQ",
            "AQ.",
            ".AQ",
            "AQ.AQ.AQ",
            "AQ==.AQ",
            "AQ.AQ==",
            "AR.AQ",
            "AQ.A",
            "A+.AQ",
            "AQ.A/",
            "AQ. AQ",
            "AQ.AA",
            "AQ.AAE",
            "AQ.gA",
            "é.AQ",
            &long,
            &long_serial,
        ] {
            assert_eq!(CertId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_window_is_in_the_last_third_of_a_life_or_in_the_second_half_of_a_short_one() {
        let (hour, day) = (3600, DAY_S);
        for (life, start, end, retry) in [
            (90 * day, 60 * day, 75 * day, 6 * hour),
            (10 * day, 10 * day / 3 * 2, 10 * day / 6 * 5, 6 * hour),
            (6 * day, 3 * day, 4 * day + day / 2, 6 * hour),
            (day, 12 * hour, 18 * hour, hour),
            (hour, 30 * 60, 45 * 60, 150),
            (600, 300, 450, 60),
            (1, 0, 1, 60),
            (0, 0, 1, 60),
        ] {
            let at = |s: i64| Timestamp::from_unix_s(1_800_000_000 + s);
            let info = RenewalInfo::of(at(0), at(life), None);
            assert_eq!((info.start, info.end), (at(start), at(end)), "{life}");
            assert_eq!(i64::from(info.retry_after_s), retry, "{life}");
            let revoked = RenewalInfo::of(at(0), at(life), Some(at(life / 2)));
            assert!(revoked.start < revoked.end && revoked.end < at(life / 2));
        }
    }
}
