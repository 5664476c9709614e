//! PEM blocks (RFC 7468 §3): read leniently, for files are made by many tools; written strictly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
}

/// Why a text holds no sequence of PEM blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("line {0} begins a PEM block that does not end")]
    Unfinished(usize),
    #[error("the PEM block that begins on line {0} is not base64")]
    Base64(usize),
}

/// The blocks of `text` in their order; what stands outside of them is explanatory text (§2).
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim).zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(label) = label(line, "-----BEGIN ") else { continue };
        let mut body = String::new();
        loop {
            let (line, _) = lines.next().ok_or(PemError::Unfinished(number))?;
            if let Some(end) = self::label(line, "-----END ") {
                if end != label {
                    return Err(PemError::Unfinished(number));
                }
                break;
            }
            body.push_str(line);
        }
        let der = STANDARD.decode(&body).map_err(|_| PemError::Base64(number))?;
        blocks.push(Block { label: label.to_owned(), der });
    }
    Ok(blocks)
}

/// The DER of each PEM block with one of these labels, or `bytes` themselves where they hold no PEM.
pub(crate) fn ders(bytes: &[u8], labels: &[&str]) -> Result<Vec<Vec<u8>>, PemError> {
    let text = String::from_utf8_lossy(bytes);
    let blocks = blocks(&text)?;
    if blocks.is_empty() {
        // A SEQUENCE, as certificates and requests are.
        return Ok(if bytes.first() == Some(&0x30) { vec![bytes.to_vec()] } else { Vec::new() });
    }
    let wanted = blocks.into_iter().filter(|block| labels.contains(&block.label.as_str()));
    Ok(wanted.map(|block| block.der).collect())
}

/// A CSR as PEM (RFC 7468 §7).
pub(crate) fn request(der: &[u8]) -> String {
    let mut text = String::new();
    push(&mut text, "CERTIFICATE REQUEST", der);
    text
}

/// A certificate as PEM (RFC 7468 §5).
pub(crate) fn certificate(der: &[u8]) -> String {
    let mut text = String::new();
    push_certificate(&mut text, der);
    text
}

fn label<'a>(line: &'a str, boundary: &str) -> Option<&'a str> {
    line.strip_prefix(boundary)?.strip_suffix("-----")
}

/// Appends a CERTIFICATE block: lines of 64 characters, LF, a newline at the end (RFC 7468 §2).
pub(super) fn push_certificate(text: &mut String, der: &[u8]) {
    push(text, "CERTIFICATE", der);
}

fn push(text: &mut String, label: &str, der: &[u8]) {
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = &*STANDARD.encode(der);
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_the_line_ends() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let der = vec![7; length];
            let mut text = "subject=CN = test\n".to_owned();
            push_certificate(&mut text, &der);
            push_certificate(&mut text, &der);
            for text in [text.replace('\n', "\r\n"), text] {
                let blocks = blocks(&text).unwrap();
                assert_eq!(blocks.len(), 2);
                assert!(blocks.iter().all(|block| block.label == "CERTIFICATE"));
                assert!(blocks.iter().all(|block| block.der == der), "{length}");
            }
        }
    }

    #[test]
    fn broken_blocks_are_refused_with_their_line() {
        for (text, error) in [
            ("\n-----BEGIN CERTIFICATE-----\nAAAA\n", PemError::Unfinished(2)),
            ("-----BEGIN A-----\nAAAA\n-----END B-----\n", PemError::Unfinished(1)),
            ("-----BEGIN A-----\nA*AA\n-----END A-----\n", PemError::Base64(1)),
        ] {
            assert_eq!(blocks(text).err(), Some(error), "{text}");
        }
        assert!(blocks("no PEM here").unwrap().is_empty());
    }
}
