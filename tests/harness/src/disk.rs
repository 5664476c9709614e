//! A disk that fails on command, or at which a program is killed: `tests/faulty-disk`.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use crate::command;

/// For the program whose environment it goes into.
pub struct Disk {
    folder: TempDir,
    number: AtomicU64,
}

impl Disk {
    pub fn new() -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap(), number: AtomicU64::new(0) };
        fs::copy(command::built("faulty-disk", "libfaulty_disk.so"), disk.library()).unwrap();
        disk.suffer(&[]);
        disk
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let commands = ("FAULTY_DISK".to_owned(), text(self.commands()));
        vec![("LD_PRELOAD".to_owned(), text(self.library())), commands]
    }

    /// From the next call on these things go wrong, and no others; counting begins anew.
    pub fn suffer(&self, commands: &[&str]) {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        // Whole, never half: the program may be reading.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("number {number}\n{}", commands.join("\n"))).unwrap();
        fs::rename(new, self.commands()).unwrap();
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("faulty-disk.so")
    }

    fn commands(&self) -> PathBuf {
        self.folder.path().join("commands")
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}
