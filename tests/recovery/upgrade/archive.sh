#!/usr/bin/env bash
# Keeps the sources of a release beside the tests, for those of a rolling upgrade: `archive.sh COMMIT`.
# To be run when a release is made, and the result committed. A checkout without its history has them then,
# too; what only tests need is left out.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
commit="$(git -C "$here" rev-parse --verify "${1:?usage: archive.sh COMMIT}^{commit}")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
git -C "$(git -C "$here" rev-parse --show-toplevel)" archive "$commit" Cargo.toml Cargo.lock src migrations LICENSE \
    | tar -x -C "$work"
cd "$work"
find src -depth \( -name tests -o -name tests.rs \) -exec rm -rf {} +
# One package: no members, nothing for tests and benchmarks, no lints.
sed -i -e '/^members = /d; /^exclude = /d' \
    -e '/^\[dev-dependencies\]$/,/^\[workspace\.lints\.rust\]$/{/^\[workspace\.lints\.rust\]$/!d}' \
    Cargo.toml
# Its own lock file without what only tests need: Cargo takes that out, and changes nothing else.
cargo metadata --format-version 1 >/dev/null
cargo metadata --locked --format-version 1 >/dev/null
printf '%s\n' "$commit" >COMMIT
tar --sort=name --owner=0 --group=0 --mtime=@0 -c . | xz -9e >"$here/previous.tar.xz"
