#!/usr/bin/env bash
# Builds the release before this one from the sources in previous.tar.xz, once, outside the checkout, and
# prints the folder with the program `kipuka`. `build.sh where` prints it and builds nothing.
set -euo pipefail
cd "$(dirname "$0")"
sources="$PWD/previous.tar.xz"

cache="${KIPUKA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kipuka-tests}"
made_of="$(cat build.sh "$sources" | sha256sum | cut -c1-16)"
folder="$cache/previous-$made_of"
printf '%s\n' "$folder"
[ "${1:-}" != where ] && [ ! -e "$folder" ] || exit 0

mkdir -p "$cache"
exec 9>"$cache/previous.lock"
flock 9
[ ! -e "$folder" ] || exit 0
printf 'Building the release before this one (once, some minutes)\n' >&2

# What a build that was killed has left is not looked at.
work="$cache/previous.building"
rm -rf "$work"
mkdir -p "$work/source" "$work/done"
log="$work/log"
trap '[ ! -e "$log" ] || { tail -n 40 "$log"; echo "the release before this one was not built"; } >&2' EXIT
tar -xJf "$sources" -C "$work/source"
# Not below the checkout, whose .cargo/ it must not read; with the checkout's toolchain.
cd "$work/source"
CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
    cargo build --locked --target-dir "$work/target" >"$log" 2>&1
cp "$work/target/debug/kipuka" "$work/done"
# Whole or not at all.
mv "$work/done" "$folder"
rm -rf "$work"
