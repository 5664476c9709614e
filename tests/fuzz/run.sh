#!/usr/bin/env bash
# Runs each fuzz target for some seconds: run.sh [SECONDS [TARGET...]]. What is built is kept outside the
# checkout. An input that breaks a target is written to tests/fuzz/found/TARGET, and its path printed.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-10}"
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(jws jwk eab key_change csr attestation dns http01 tls_alpn01 config)

cache="${KIPUKA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kipuka-tests}/fuzz"
mkdir -p "$cache"
host="$(rustc -vV | sed -n 's/^host: //p')"
# What cargo-fuzz sets, but for the address sanitizer: the parsers are safe Rust, and it wants a nightly
# compiler. With --target these are not for build scripts, which could not be linked with them.
RUSTFLAGS='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16' \
    cargo build --locked --quiet --package fuzz --features libfuzzer --profile fuzz --target "$host" \
    --target-dir "$cache"

run() {
    local target="$1" folder seeds="seeds/$1"
    [ "$target" != config ] || seeds=../../config
    folder="$(mktemp -d)"
    mkdir -p "found/$target"
    # What was found before comes first. New inputs that lead further go into the folder, and with it.
    if KIPUKA_FUZZ_TARGET="$target" "$cache/$host/fuzz/fuzz" "$folder" "$seeds" "found/$target" \
        -artifact_prefix="found/$target/" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 \
        -max_len=16384 -print_final_stats=1 >"$folder.log" 2>&1; then
        printf '%-12s %s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: */inputs: /p' "$folder.log")"
        rm -rf "$folder" "$folder.log"
    else
        cat "$folder.log" >&2
        return 1
    fi
}
export -f run
export cache host seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'run {}'
find found -type d -empty -delete
