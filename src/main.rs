//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    kipuka::cli::run()
}
