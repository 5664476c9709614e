//! The files that the configuration names: there, readable, and hidden from those who must not
//! read them.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::mistake::At;
use super::reader::Reader;

const GROUP_AND_OTHERS: u32 = 0o066;
const OTHERS: u32 = 0o006;

/// Who besides the owner may read a secret file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Nobody,
    /// As Debian does for TLS keys (group `ssl-cert`, mode 0640).
    Group,
}

impl Reader<'_> {
    /// A path as the file means it: a relative one starts at the file's folder.
    pub(super) fn resolved(&self, path: &str) -> PathBuf {
        self.file.parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    /// Remembers where a file, named by its `kind` ("certificate"), cannot be read.
    pub(super) fn check_readable(&self, kind: &str, path: &At<PathBuf>) -> bool {
        self.metadata(kind, path).is_some_and(|metadata| self.opens(kind, path, &metadata))
    }

    /// As [`Self::check_readable`], for files that hold a secret: refused where more than their
    /// owner can read them.
    pub(super) fn check_secret(&self, kind: &str, path: &At<PathBuf>, shared: Shared) -> bool {
        let Some(metadata) = self.metadata(kind, path) else { return false };
        let forbidden = match shared {
            Shared::Nobody if !self.is_systemd_credential(&path.value) => GROUP_AND_OTHERS,
            _ => OTHERS,
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & forbidden != 0 {
            let who = if forbidden == OTHERS { "others" } else { "its group or others" };
            // A group that may read keeps that right where it is allowed to have it.
            let mended = if shared == Shared::Group && mode & 0o040 != 0 { "0440" } else { "0400" };
            self.mistake(
                &path.place,
                format!(
                    "{who} can read or change the {kind} {} (mode {mode:04o})",
                    path.value.display()
                ),
                format!("run: chmod {mended} {}", shell_word(&path.value)),
            );
            return false;
        }
        self.opens(kind, path, &metadata)
    }

    /// systemd hands credentials over with an access list, which shows as a right of the group.
    fn is_systemd_credential(&self, path: &Path) -> bool {
        (self.env)("CREDENTIALS_DIRECTORY").is_some_and(|folder| {
            !folder.is_empty() && Path::new(&folder).is_absolute() && path.starts_with(folder)
        })
    }

    fn metadata(&self, kind: &str, path: &At<PathBuf>) -> Option<Metadata> {
        let shown = path.value.display();
        match fs::metadata(&path.value) {
            Ok(metadata) if metadata.is_dir() => {
                self.mistake(
                    &path.place,
                    format!("the {kind} {shown} is a folder"),
                    "name a file in it",
                );
                None
            }
            Ok(metadata) => Some(metadata),
            Err(error) => {
                self.unreadable(kind, path, &error);
                None
            }
        }
    }

    /// Anything but a regular file is left alone: a pipe can be read only once.
    fn opens(&self, kind: &str, path: &At<PathBuf>, metadata: &Metadata) -> bool {
        if !metadata.is_file() {
            return true;
        }
        match File::open(&path.value) {
            Ok(_) => true,
            Err(error) => {
                self.unreadable(kind, path, &error);
                false
            }
        }
    }

    pub(super) fn unreadable(&self, kind: &str, path: &At<PathBuf>, error: &std::io::Error) {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "create the file or correct the path (a relative one starts at the folder of this \
                 file)"
            }
            std::io::ErrorKind::PermissionDenied => {
                "let the user that kipuka runs as read it (chown, and the folders above it)"
            }
            _ => "name a file that can be read",
        };
        let what = format!("the {kind} {} cannot be read: {error}", path.value.display());
        self.mistake(&path.place, what, remedy);
    }
}

/// Whether others may read the file; `false` where that cannot be told.
pub(super) fn others_can_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_remedy_survives_the_shell() {
        assert_eq!(shell_word(Path::new("/etc/kipuka/hsm.pin")), "/etc/kipuka/hsm.pin");
        assert_eq!(shell_word(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
