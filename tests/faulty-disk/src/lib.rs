//! A library for LD_PRELOAD: under a program that writes files, they fail on command, or the program
//! is killed at one of its calls.
//!
//! The commands stand in the file that `FAULTY_DISK` names, which is read at each call:
//!
//! ```text
//! number 7                    counting begins anew with each number
//! kill-before write 3 -wal    SIGKILL before the third write to a file whose name ends like this
//! kill-after sync 2 -wal      SIGKILL after the second fsync or fdatasync
//! fail write 28 kipuka.db     every write fails with this errno
//! fail open 30 kipuka.db      so does every open for writing
//! ```

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::{env, fs, thread};

use libc::{mode_t, off_t, off64_t, size_t, ssize_t};

/// How often each kind of call was made since the number that is in force.
static COUNTED: Mutex<Option<(String, HashMap<String, u64>)>> = Mutex::new(None);

thread_local! {
    /// Whether this thread is reading the commands: its own calls are not looked at.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A call that a command may be about.
struct Call {
    commands: Vec<Vec<String>>,
    counts: HashMap<String, u64>,
}

impl Call {
    /// `None` where it is nobody's business.
    fn new(kind: &str, path: impl FnOnce() -> Option<PathBuf>) -> Option<Self> {
        if INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(true) {
            return None;
        }
        let call = Self::read(kind, path);
        let _ = INSIDE.try_with(|inside| inside.set(false));
        call
    }

    fn read(kind: &str, path: impl FnOnce() -> Option<PathBuf>) -> Option<Self> {
        let commands = fs::read_to_string(env::var_os("FAULTY_DISK")?).ok()?;
        let mut lines = commands.lines();
        let number = lines.next()?.to_owned();
        let path = path()?;
        let commands: Vec<Vec<String>> = lines
            .map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .filter(|words| words.len() == 4 && words[1] == kind)
            .filter(|words| path.as_os_str().as_bytes().ends_with(words[3].as_bytes()))
            .collect();
        let mut counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counted.get_or_insert_with(Default::default);
        if counted.0 != number {
            *counted = (number, HashMap::new());
        }
        for words in &commands {
            *counted.1.entry(words.join(" ")).or_default() += 1;
        }
        (!commands.is_empty()).then(|| Self { commands, counts: counted.1.clone() })
    }

    fn dies(&self, when: &str) {
        for words in self.commands.iter().filter(|words| words[0] == when) {
            if self.counts.get(&words.join(" ")) == words[2].parse().ok().as_ref() {
                // SAFETY: it takes two numbers.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                loop {
                    thread::park();
                }
            }
        }
    }

    /// The errno to fail with.
    fn fails(&self) -> Option<c_int> {
        let words = self.commands.iter().find(|words| words[0] == "fail")?;
        words[2].parse().ok()
    }
}

fn path_of(file: c_int) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{file}")).ok()
}

fn around<T: From<i8>>(
    kind: &str,
    path: impl FnOnce() -> Option<PathBuf>,
    call: impl FnOnce() -> T,
) -> T {
    let Some(looked) = Call::new(kind, path) else { return call() };
    looked.dies("kill-before");
    if let Some(errno) = looked.fails() {
        // SAFETY: it points to this thread's errno.
        unsafe { *libc::__errno_location() = errno };
        return T::from(-1);
    }
    let result = call();
    looked.dies("kill-after");
    result
}

/// libc's function of this name.
macro_rules! real {
    ($name:ident : $type:ty) => {{
        // SAFETY: the name ends in NUL.
        let found = unsafe {
            libc::dlsym(libc::RTLD_NEXT, concat!(stringify!($name), "\0").as_ptr().cast())
        };
        // SAFETY: libc has it, with this type.
        unsafe { std::mem::transmute::<*mut c_void, $type>(found) }
    }};
}

macro_rules! of_file {
    ($kind:literal, $name:ident ( $($argument:ident : $type:ty),* ) -> $result:ty) => {
        /// # Safety
        /// As libc has it.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(file: c_int $(, $argument: $type)*) -> $result {
            around($kind, || path_of(file), || {
                let real = real!($name: unsafe extern "C" fn(c_int $(, $type)*) -> $result);
                // SAFETY: the caller's arguments, on the caller's promise.
                unsafe { real(file $(, $argument)*) }
            })
        }
    };
}

of_file!("write", write(from: *const c_void, length: size_t) -> ssize_t);
of_file!("write", pwrite(from: *const c_void, length: size_t, at: off_t) -> ssize_t);
of_file!("write", pwrite64(from: *const c_void, length: size_t, at: off64_t) -> ssize_t);
of_file!("write", ftruncate(length: off_t) -> c_int);
of_file!("write", ftruncate64(length: off64_t) -> c_int);
of_file!("sync", fsync() -> c_int);
of_file!("sync", fdatasync() -> c_int);

macro_rules! opening {
    ($name:ident) => {
        /// # Safety
        /// As libc has it; `mode` is there where `flags` ask for it.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            let real = real!($name: unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int);
            // SAFETY: the caller's arguments, on the caller's promise.
            let open = || unsafe { real(path, flags, mode) };
            if flags & libc::O_ACCMODE == libc::O_RDONLY {
                return open();
            }
            let named = || {
                // SAFETY: the caller promises that it is a string.
                let path = unsafe { CStr::from_ptr(path) };
                Some(std::ffi::OsStr::from_bytes(path.to_bytes()).into())
            };
            around("open", named, open)
        }
    };
}

opening!(open);
opening!(open64);
