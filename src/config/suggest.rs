//! The known key that a mistyped one was meant to be.

use super::SECTIONS;

/// How to mend the unknown key `unknown` in a section that knows `keys`.
pub(super) fn instead_of(unknown: &str, keys: &[&str]) -> String {
    if let Some(near) = nearest(unknown, keys) {
        return format!("did you mean `{near}`?");
    }
    if let Some((section, _)) = SECTIONS.iter().find(|(_, known)| known.contains(&unknown)) {
        return format!("`{unknown}` belongs to the section {}", header(section));
    }
    format!("remove it; known here: {}", keys.join(", "))
}

/// A section's name as it stands in the file.
pub(super) fn header(section: &str) -> String {
    if section == "ca" { "[[ca]]".to_owned() } else { format!("[{section}]") }
}

fn nearest<'k>(unknown: &str, keys: &[&'k str]) -> Option<&'k str> {
    let plain: String = unknown.to_lowercase().replace('-', "_").chars().take(64).collect();
    let (distance, near) = keys.iter().map(|key| (edits(&plain, key), *key)).min()?;
    (distance <= 1 + near.len() / 4).then_some(near)
}

/// The insertions, removals and replacements that turn `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, in_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(in_a != *in_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_gets_its_nearest_a_strange_one_the_list_a_misplaced_one_its_section() {
        let keys = &["listen", "tls_cert", "tls_key"];
        assert_eq!(instead_of("tls-cert", keys), "did you mean `tls_cert`?");
        assert_eq!(instead_of("lsten", keys), "did you mean `listen`?");
        assert_eq!(instead_of("zebra", keys), "remove it; known here: listen, tls_cert, tls_key");
        assert_eq!(instead_of("hsm_slot", keys), "`hsm_slot` belongs to the section [[ca]]");
    }
}
