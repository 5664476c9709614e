//! Serial numbers (RFC 5280 §4.1.2.2).

use std::fmt;

/// The length of every serial: the most that RFC 5280 §4.1.2.2 allows.
pub(crate) const SERIAL_LENGTH: usize = 20;

/// The serial number of a certificate (RFC 5280 §4.1.2.2): positive, exactly 20 octets, 159 bits of
/// which all but the first are random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Serial([u8; SERIAL_LENGTH]);

impl Serial {
    /// Makes a serial of 20 random bytes. The sign bit is cleared and the next one set, so that the
    /// INTEGER has neither a leading zero nor a length that varies.
    pub(crate) fn from_entropy(mut bytes: [u8; SERIAL_LENGTH]) -> Self {
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Self(bytes)
    }

    /// Reads a serial as [`Self::as_bytes`] gave it; `None` where no kipuka made it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; SERIAL_LENGTH] = bytes.try_into().ok()?;
        (bytes[0] & 0xc0 == 0x40).then_some(Self(bytes))
    }

    /// Reads the form that `Display` writes, in either case.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 2 * SERIAL_LENGTH {
            return None;
        }
        let mut bytes = [0; SERIAL_LENGTH];
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(digits[0]).to_digit(16)?;
            let low = char::from(digits[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Self::from_bytes(&bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; SERIAL_LENGTH] {
        &self.0
    }
}

/// Forty hexadecimal digits in lower case.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_serial_is_positive_and_has_twenty_octets() {
        for byte in [0x00, 0x3f, 0x40, 0x7f, 0x80, 0xff] {
            let serial = Serial::from_entropy([byte; 20]);
            assert_eq!(serial.as_bytes()[0] & 0xc0, 0x40, "{byte:02x}");
            assert_eq!(serial.as_bytes()[1..], [byte; 19]);
            assert_eq!(Serial::from_bytes(serial.as_bytes()), Some(serial));
            assert_eq!(Serial::from_hex(&serial.to_string()), Some(serial));
            assert_eq!(Serial::from_hex(&serial.to_string().to_uppercase()), Some(serial));
        }
    }

    #[test]
    fn what_no_kipuka_made_is_no_serial() {
        assert_eq!(Serial::from_bytes(&[0x80; 20]), None, "negative");
        assert_eq!(Serial::from_bytes(&[0x01; 20]), None, "short");
        assert_eq!(Serial::from_bytes(&[0x40; 19]), None);
        assert_eq!(Serial::from_bytes(&[0x40; 21]), None);
        assert_eq!(Serial::from_hex(&"4".repeat(39)), None);
        assert_eq!(Serial::from_hex(&"é".repeat(20)), None);
        assert_eq!(Serial::from_hex(&format!("+{}", "4".repeat(39))), None);
    }
}
