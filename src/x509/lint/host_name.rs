//! The form of a dNSName (RFC 5280 §4.2.1.6): checked again here, where nothing comes after.

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Lower case, letters, digits and hyphens, no final dot, `*` as the whole first label at most; and
/// no IPv4 address: those end in a number. Underscores only where the profile has them.
pub(super) fn is_certifiable(name: &str, underscores: bool) -> bool {
    let base = name.strip_prefix("*.").unwrap_or(name);
    let last = base.rsplit('.').next().unwrap_or(base);
    name.len() <= MAX_NAME
        && base.split('.').all(|label| is_label(label, underscores))
        && !last.bytes().all(|b| b.is_ascii_digit())
}

fn is_label(label: &str, underscores: bool) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|b| known(b) || (underscores && b == b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_normal_form_are_certifiable() {
        for good in ["a", "a.test", "*.a.test", "xn--bcher-kva.test", "1.test"] {
            assert!(is_certifiable(good, false), "{good}");
        }
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = format!("{}test", "a.".repeat(126));
        for bad in [
            "",
            "*",
            "*.",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.test",
            "a.*.test",
            "*a.test",
            "*.*.test",
            "-a.test",
            "a-.test",
            "a_b.test",
            "a b",
            "a\0.test",
            "192.0.2.1",
            "*.2.1",
            "2001:db8::1",
            "ü.test",
            &long_label,
            &long_name,
        ] {
            assert!(!is_certifiable(bad, false), "{bad}");
            assert!(bad == "a_b.test" || !is_certifiable(bad, true), "{bad}");
        }
        assert!(is_certifiable("a_b.test", true) && is_certifiable("*._tcp.test", true));
    }
}
