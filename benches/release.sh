#!/usr/bin/env bash
# Builds target/pgo/kipuka by what a run of the load shows to be used: kipuka is built so that it counts what it runs,
# works under the load of benches/load, and is built again by these counts (PGO). The finished program is counted once
# more, with the C code that is in it, and laid out anew (BOLT). The source and its checks are the same.
set -euo pipefail
cd "$(dirname "$0")/.."

profdata="$(benches/llvm-profdata.sh)"
# The newest that there is.
bolt="$(compgen -G '/usr/lib/llvm-*/bin/llvm-bolt' | sort -V | tail -n 1 || true)"
bolt="${bolt:-$(command -v llvm-bolt)}" || {
    echo 'There is no llvm-bolt: Debian has it in bolt-19' >&2
    exit 1
}
merge_fdata="$(dirname "$bolt")/merge-fdata"
out="${CARGO_TARGET_DIR:-target}/pgo"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
counts="$out/counts"
blocks="$out/blocks"
rm -rf "$counts" "$blocks"
# With --target, build scripts and macros are not built with these flags. Counts are found by the names of functions,
# which depend on how cargo was called: both times in the same way.
host="$(rustc -vV | sed -n 's/^host: //p')"

# In the form that takes paths with spaces, behind whatever flags there are.
flags="${RUSTFLAGS:-}"
flags="${flags// /$'\x1f'}"
own="${CARGO_ENCODED_RUSTFLAGS:-$flags}"
# BOLT finds functions by their names, which go at the end.
export CARGO_PROFILE_RELEASE_STRIP=none
build() {
    local folder="$1" IFS=$'\x1f'
    shift
    CARGO_ENCODED_RUSTFLAGS="${own:+$own$'\x1f'}$*" cargo build --locked --release --target "$host" \
        --target-dir "$out/$folder"
}

# The clients are built as tests are: it matters what kipuka does, not how fast they ask for it.
train() {
    local program="$1" load
    for load in '--database sqlite --key file' '--database postgres --key softhsm' '--poll --reconnect'; do
        # Options in words.
        # shellcheck disable=SC2086
        cargo bench --locked --profile dev --bench load -- --program "$program" --seconds 15 $load
    done
}

build counting "-Cprofile-generate=$counts"
train "$out/counting/$host/release/kipuka"
"$profdata" merge -o "$out/kipuka.profdata" "$counts"

build guided "-Cprofile-use=$out/kipuka.profdata" -Clink-arg=-Wl,--emit-relocs
guided="$out/guided/$host/release/kipuka"

mkdir "$blocks"
"$bolt" "$guided" -o "$out/kipuka-counting" \
    -instrument -instrumentation-file="$blocks/kipuka" -instrumentation-file-append-pid
train "$out/kipuka-counting"
"$merge_fdata" -o "$out/kipuka.fdata" "$blocks"/*
"$bolt" "$guided" -o "$out/kipuka" -data "$out/kipuka.fdata" \
    -reorder-blocks=ext-tsp -reorder-functions=hfsort -split-functions -split-all-cold -split-eh -icf=1 -use-gnu-stack
strip "$out/kipuka"
# What was laid out anew goes through all of it once more: a failure ends this here.
train "$out/kipuka"
echo "$out/kipuka"
