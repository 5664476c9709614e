#!/usr/bin/env bash
# Installs what kipuka needs on Debian or Ubuntu: `dev` to build and to try it, `test` for all the tests as well.
# Quick where everything is there already.
set -euo pipefail

dev=(gcc pkg-config libssl-dev softhsm2)
test=(opensc openssl libengine-pkcs11-openssl postgresql certbot lego uacme curl util-linux)

case "${1:-}" in
  dev) packages=("${dev[@]}") ;;
  test) packages=("${dev[@]}" "${test[@]}") ;;
  *) echo "usage: $0 dev|test" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
  echo "cargo is missing: install a Rust toolchain (https://www.rust-lang.org/tools/install)" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "please install these, or what your system calls them: ${missing[*]}" >&2
    exit 1
  fi
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  echo "installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  # A service that a package starts is not wanted: the tests start what they need themselves.
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ "$1" = test ]; then
  cargo nextest --version >/dev/null 2>&1 || cargo install --locked --quiet cargo-nextest@0.9.143
  # Without optimisation it is built in half the time, and it runs for a second.
  cargo deny --version >/dev/null 2>&1 ||
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 \
      cargo install --locked --quiet cargo-deny
fi
