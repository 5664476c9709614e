#!/usr/bin/env bash
# Prints an llvm-profdata that reads the counts which programs by this rustc write: the toolchain's own (rustup
# component add llvm-tools), else Debian's newest, else the one on the PATH. Each is tried.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo 'fn main() {}' >trial.rs
rustc -Cprofile-generate=counts trial.rs
./trial
for profdata in "$(rustc --print target-libdir)/../bin/llvm-profdata" \
    $(compgen -G '/usr/lib/llvm-*/bin/llvm-profdata' | sort -rV) llvm-profdata; do
    if "$profdata" merge -o merged counts 2>/dev/null; then
        command -v "$profdata"
        exit
    fi
done
echo 'There is no llvm-profdata that reads what rustc writes: rustup component add llvm-tools' >&2
exit 1
