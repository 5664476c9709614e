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
# With --target, build scripts and macros are not built with these flags. Counts are found by the names of functions,
# which depend on how cargo was called: both times in the same way.
host="$(rustc -vV | sed -n 's/^host: //p')"

# In the form that takes paths with spaces, behind whatever flags there are.
flags="${RUSTFLAGS:-}"
flags="${flags// /$'\x1f'}"
own="${CARGO_ENCODED_RUSTFLAGS:-$flags}"
build() {
    CARGO_ENCODED_RUSTFLAGS="${own:+$own$'\x1f'}$1" cargo build --locked --release --target "$host" --target-dir "$out/$2"
}
build "-Cprofile-generate=$counts" counting

# The clients are built as tests are: it matters what kipuka does, not how fast they ask for it.
train() {
    cargo bench --locked --profile dev --bench load -- --program "$out/counting/$host/release/kipuka" \
        --seconds 15 "$@"
}
train --database sqlite --key file
train --database postgres --key softhsm
train --poll --reconnect
"$profdata" merge -o "$out/kipuka.profdata" "$counts"

build "-Cprofile-use=$out/kipuka.profdata" guided
cp "$out/guided/$host/release/kipuka" "$out/kipuka"
echo "$out/kipuka"
