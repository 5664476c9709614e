//! Parse, run, exit code.

/// A certificate takes some thousand pieces of memory: with the system's allocator they are a tenth of its
/// cost. Libraries that are written in C, and with them those of tokens, keep the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Huge pages would double what the allocator holds. A kernel that cannot do without them is none to
    // complain of.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
    kipuka::cli::run()
}
