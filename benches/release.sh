#!/usr/bin/env bash
# Builds target/pgo/kipuka by profile-guided optimization: kipuka is built so that it counts what it runs, works
# under the load of benches/load, and is built again by these counts. The source and its checks are the same.
set -euo pipefail
cd "$(dirname "$0")/.."

profdata="$(benches/llvm-profdata.sh)"
out="${CARGO_TARGET_DIR:-target}/pgo"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
counts="$out/counts"
rm -rf "$counts"
# With --target, build scripts and macros are not built with these flags.
host="$(rustc -vV | sed -n 's/^host: //p')"

train() {
    RUSTFLAGS="-Cprofile-generate=$counts" cargo bench --locked --bench load --target "$host" \
        --target-dir "$out/counting" -- --seconds 15 "$@"
}
train --database sqlite --key file
train --database postgres --key softhsm
train --poll --reconnect
"$profdata" merge -o "$out/kipuka.profdata" "$counts"

RUSTFLAGS="-Cprofile-use=$out/kipuka.profdata" cargo build --locked --release --target "$host" \
    --target-dir "$out/guided"
cp "$out/guided/$host/release/kipuka" "$out/kipuka"
echo "$out/kipuka"
