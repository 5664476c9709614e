#!/usr/bin/env bash
# Installs the clients that Debian does not have, once, outside the checkout, and prints the folder
# that holds them: certbot and npm. `packages.sh where` prints it and installs nothing.
set -euo pipefail
cd "$(dirname "$0")"

cache="${KIPUKA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kipuka-tests}"
# What they are made of is in their name: another version is installed anew.
made_of="$(cat packages.sh certbot.txt npm/package.json npm/package-lock.json | sha256sum | cut -c1-16)"
folder="$cache/clients-$made_of"
printf '%s\n' "$folder"
[ "${1:-}" != where ] && [ ! -e "$folder" ] || exit 0

mkdir -p "$cache"
exec 9>"$cache/clients.lock"
flock 9
[ ! -e "$folder" ] || exit 0
printf 'Installing the newest certbot and a client from npm (once)\n' >&2

work="$cache/clients.installing"
rm -rf "$work"
mkdir -p "$work/npm"
# Debian's own Python, which brings venv; where there is another system, its.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -m venv "$work/certbot"
"$work/certbot/bin/python" -m pip install --quiet --disable-pip-version-check \
    --requirement certbot.txt >&2
cp npm/package.json npm/package-lock.json "$work/npm"
(cd "$work/npm" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2)
# Whole or not at all.
mv "$work" "$folder"
