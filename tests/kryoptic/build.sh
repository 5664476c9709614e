#!/usr/bin/env bash
# Builds Kryoptic and an OpenSSL that knows ML-DSA, once, outside the checkout, and prints the folder
# that holds both: libkryoptic_pkcs11.so and openssl. `build.sh where` prints it and builds nothing.
set -euo pipefail
cd "$(dirname "$0")"

cache="${KIPUKA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kipuka-tests}"
# What they are made of is in their name, so that a change builds them anew and a checkout of before
# the change still finds its own. The compiler is not: what it makes are C libraries and programs.
made_of="$(cat build.sh Cargo.toml Cargo.lock src/lib.rs | sha256sum | cut -c1-16)"
folder="$cache/kryoptic-$made_of"
printf '%s\n' "$folder"
[ "${1:-}" != where ] && [ ! -e "$folder" ] || exit 0

mkdir -p "$cache"
exec 9>"$cache/kryoptic.lock"
flock 9
[ ! -e "$folder" ] || exit 0
printf 'Building Kryoptic and OpenSSL (once, some minutes)\n' >&2

# What a build that was killed has left is not looked at.
work="$cache/kryoptic.building"
rm -rf "$work"
mkdir -p "$work/openssl" "$work/done/ssl"
log="$work/log"
trap '[ ! -e "$log" ] || { tail -n 40 "$log"; echo "Kryoptic was not built"; } >&2' EXIT
cargo fetch --locked >"$log" 2>&1
manifest="$(cargo metadata --locked --format-version 1 2>>"$log" \
    | grep -o '"manifest_path":"[^"]*/openssl-src-[^"]*"' | cut -d '"' -f 4)"
source="$(dirname "$manifest")/openssl"

# One OpenSSL for both: the library's is linked in, so that it does not meet the process's own.
(
    cd "$work/openssl"
    "$source/Configure" --prefix="$work/installed" --libdir=lib --openssldir="$folder/ssl" \
        no-shared no-module no-tests no-docs no-legacy no-ssl3 no-comp no-zlib no-quic
    make -j "$(nproc)" build_sw
    make install_dev
) >>"$log" 2>&1
OPENSSL_DIR="$work/installed" OPENSSL_STATIC=1 \
    cargo build --locked --release --target-dir "$work/target" >>"$log" 2>&1

cp "$work/openssl/apps/openssl" "$work/target/release/libkryoptic_pkcs11.so" "$work/done"
printf '[req]\ndistinguished_name = name\n[name]\n' >"$work/done/ssl/openssl.cnf"
# Whole or not at all.
mv "$work/done" "$folder"
rm -rf "$work"
