//! Files that commands write, whole or not at all, and files that they are given.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::x509::chain::{Chain, ChainError};
use crate::x509::issuer::IssuerCertificate;
use crate::x509::pem;

/// Far beyond any chain or request.
const MAX_BYTES: u64 = 1024 * 1024;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Keep,
    Replace,
}

impl Existing {
    pub(super) fn replace_if(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// Whether `path` can be written later on, so that nothing is signed for a file that cannot be.
pub(super) fn check_writable(path: &Path, existing: Existing) -> Result<(), Failure> {
    if existing == Existing::Keep && path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    if path.is_dir() {
        return Err(Failure::Misconfigured(format!(
            "{}: is a folder; name a file in it",
            path.display()
        )));
    }
    // Tried rather than asked: who may write where is more than a mode tells.
    let draft = draft(path);
    let tried = create(&draft, 0o600).and_then(|_| fs::remove_file(&draft));
    tried.map_err(|error| unwritable(path, &error))
}

/// Whether two paths, however they are spelled, lead to one file, be it there or not.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.canonicalize().ok().or_else(|| {
            let folder = path.parent()?.canonicalize().ok()?;
            Some(folder.join(path.file_name()?))
        })
    };
    one == other || (place(one).is_some() && place(one) == place(other))
}

/// Writes a file: killed here, it is either as it was or whole.
pub(super) fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    existing: Existing,
) -> Result<(), Failure> {
    let draft = draft(path);
    let written = || -> io::Result<()> {
        let mut file = create(&draft, mode)?;
        // Whatever the umask: a certificate is for everybody, a secret for its owner alone. Some file
        // systems know no modes.
        let _ = file.set_permissions(fs::Permissions::from_mode(mode));
        file.write_all(bytes)?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&draft, path)?,
            Existing::Keep => place(&draft, path)?,
        }
        sync_folder(path)
    };
    let done = written();
    if done.is_err() {
        // The error is what matters; a draft that stays behind is replaced the next time.
        let _ = fs::remove_file(&draft);
    }
    done.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => unwritable(path, &error),
    })
}

/// Gives the file its name unless something has it: a link, unlike a renaming, replaces nothing.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Ok(()) => fs::remove_file(draft),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // There are no links on a memory stick with FAT.
        Err(_) if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(draft, path),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn draft(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".partial");
    PathBuf::from(draft)
}

fn create(draft: &Path, mode: u32) -> io::Result<File> {
    let _ = fs::remove_file(draft);
    OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)
}

fn exists(path: &Path) -> Failure {
    Failure::Failed(format!(
        "{}: there is such a file already; name another, or replace it with --force",
        path.display()
    ))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; make the folder first",
        io::ErrorKind::PermissionDenied => "; run this as a user who may write there",
        _ => "",
    };
    Failure::Failed(format!("{}: cannot be written: {error}{remedy}", path.display()))
}

/// Reads a file that an option names.
pub(super) fn read(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |what: String| {
        Failure::Misconfigured(format!("kipuka: {}: {what}; {option} names it", path.display()))
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong("is larger than 1 MiB".to_owned()));
    }
    Ok(bytes)
}

/// The DER of each certificate in a file, PEM or DER.
pub(super) fn certificates(path: &Path, option: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let labels = ["CERTIFICATE", "X509 CERTIFICATE"];
    let ders = pem::ders(&read(path, option)?, &labels);
    let ders = ders.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    if ders.is_empty() {
        return Err(Failure::Failed(format!(
            "{}: there is no certificate in it, neither PEM nor DER",
            path.display()
        )));
    }
    Ok(ders)
}

/// CA certificates in whichever order.
pub(super) fn ca_certificates(
    path: &Path,
    option: &str,
) -> Result<Vec<IssuerCertificate>, Failure> {
    let ders = certificates(path, option)?;
    let read = ders.iter().zip(1..).map(|(der, place)| {
        IssuerCertificate::from_der(der).map_err(|error| ChainError::Certificate { place, error })
    });
    read.collect::<Result<_, _>>()
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

/// A CA's certificate and those above it.
pub(super) fn chain(path: &Path, option: &str) -> Result<Chain, Failure> {
    Chain::new(ca_certificates(path, option)?)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

/// The DER of the request in a file, PEM or DER.
pub(super) fn request(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let failed = |what: String| Failure::Failed(format!("{}: {what}", path.display()));
    let labels = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
    let mut ders = pem::ders(&read(path, option)?, &labels)
        .map_err(|error| failed(error.to_string()))?
        .into_iter();
    match (ders.next(), ders.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(failed("there is no CSR in it, neither PEM nor DER".to_owned())),
        (Some(_), Some(_)) => Err(failed("there are several CSRs in it; give one".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_kept_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        check_writable(&path, Existing::Keep).unwrap();
        write(&path, b"first", 0o644, Existing::Keep).unwrap();
        assert!(check_writable(&path, Existing::Keep).is_err());
        assert!(write(&path, b"second", 0o644, Existing::Keep).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        check_writable(&path, Existing::Replace).unwrap();
        write(&path, b"second", 0o644, Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft stays behind: {left:?}");
    }

    #[test]
    fn a_file_is_the_same_however_it_is_spelled() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("below")).unwrap();
        std::os::unix::fs::symlink(folder.path(), path("again")).unwrap();
        for spelled in ["ca.pem", "./ca.pem", "below/../ca.pem", "again/ca.pem"] {
            assert!(same(&path("ca.pem"), &path(spelled)), "{spelled}");
        }
        for other in ["ca", "below/ca.pem", "gone/ca.pem"] {
            assert!(!same(&path("ca.pem"), &path(other)), "{other}");
        }
        fs::write(path("ca.pem"), "").unwrap();
        std::os::unix::fs::symlink("ca.pem", path("link.pem")).unwrap();
        assert!(same(&path("ca.pem"), &path("link.pem")));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_there_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(check_writable(&path, Existing::Keep).is_err());
        assert!(write(&path, b"x", 0o644, Existing::Keep).is_err());
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_told_before() {
        let folder = tempfile::tempdir().unwrap();
        let told =
            |path: &Path| check_writable(path, Existing::Keep).unwrap_err().text().to_owned();
        assert!(told(&folder.path().join("gone/ca.pem")).contains("make the folder first"));
        assert!(told(folder.path()).contains("--force"), "{}", told(folder.path()));
        let replaced = check_writable(folder.path(), Existing::Replace).unwrap_err();
        assert!(replaced.text().contains("is a folder"));
    }
}
