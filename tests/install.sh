#!/usr/bin/env bash
# Installs what is missing: `dev` to build and run kipuka, `test` (the default) to test it as well, `bench` to
# measure it, `release` to build what is released.
# Made for Debian and its kin; where everything is there already it installs nothing, anywhere.
set -euo pipefail

# The name of a Debian package, and how to see that what it brings is there.
dev=(
    'gcc            command -v gcc && command -v cc'
    'libc6-dev      test -e /usr/include/stdio.h'
    'pkg-config     command -v pkg-config'
    'libssl-dev     pkg-config --exists openssl'
    'softhsm2       command -v softhsm2-util'
)
test=(
    'opensc                   command -v pkcs11-tool'
    'openssl                  command -v openssl'
    'libengine-pkcs11-openssl openssl engine pkcs11'
    'sqlite3                  command -v sqlite3'
    'postgresql               compgen -G /usr/lib/postgresql/*/bin/initdb || command -v initdb'
    'certbot                  command -v certbot'
    'lego                     command -v lego'
    'uacme                    command -v uacme'
    'dehydrated               command -v dehydrated'
    'acme-tiny                command -v acme-tiny'
    'acmetool                 command -v acmetool'
    'caddy                    command -v caddy'
    'apache2-bin              test -e /usr/lib/apache2/modules/mod_md.so'
    'ruby-acme-client         ruby -e "require %q(acme-client)"'
    'nodejs                   command -v node'
    'npm                      command -v npm'
    'python3-venv             /usr/bin/python3 -c "import ensurepip, venv"'
    'sqlite3                  command -v sqlite3'
    'faketime                 compgen -G /usr/lib/*/faketime/libfaketime.so.1'
    'curl                     command -v curl'
    'jq                       command -v jq'
    'prometheus               command -v promtool'
    'util-linux               command -v runuser && command -v flock'
    'libclang-dev             compgen -G /usr/lib/llvm-*/lib/libclang*.so || compgen -G /usr/lib*/libclang*.so'
    'libsqlite3-dev           pkg-config --exists sqlite3'
    'g++                      command -v c++'
    'perl                     command -v perl'
    'make                     command -v make'
    'unbound                  test -x /usr/sbin/unbound'
    'knot                     test -x /usr/sbin/knotd'
    'libtpm2-pkcs11-1         compgen -G /usr/lib/*/libtpm2_pkcs11.so.1'
    'swtpm                    command -v swtpm'
    'tpm2-tools               command -v tpm2_send'
    'tpm2-abrmd               command -v tpm2-abrmd'
    'libtss2-tcti-tabrmd0     compgen -G /usr/lib/*/libtss2-tcti-tabrmd.so.0'
    'libtss2-tcti-swtpm0      compgen -G /usr/lib/*/libtss2-tcti-swtpm.so.0'
    'dbus-daemon              command -v dbus-daemon'
    'dbus-bin                 command -v dbus-send'
    'opencryptoki             command -v pkcsslotd'
    'libnss3                  compgen -G /usr/lib/*/libsoftokn3.so'
    'libnss3-tools            command -v certutil'
    'p11-kit                  command -v p11-kit'
    'haproxy                  test -x /usr/sbin/haproxy'
    'docker-compose           command -v docker-compose'
    'systemd                  command -v systemd-analyze'
    'xz-utils                 command -v xz'
    'p11-kit-modules          compgen -G /usr/lib/*/pkcs11/p11-kit-client.so'
)
bench=(
    'pebble                   command -v pebble'
)
release=(
    'opensc                   command -v pkcs11-tool'
    'openssl                  command -v openssl'
    'postgresql               compgen -G /usr/lib/postgresql/*/bin/initdb || command -v initdb'
    'util-linux               command -v runuser && command -v flock'
    'llvm-19                  benches/llvm-profdata.sh'
)
# Tools of the toolchain, built from source; another version that is there already is kept.
cargo=(
    'cargo-nextest 0.9.143'
    'cargo-deny    0.20.2'
)

say() { printf '%s\n' "$*" >&2; }
die() { say "install.sh: $*"; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
    local line package probe missing=()
    for line in "$@"; do
        read -r package probe <<<"$line"
        eval "$probe" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    command -v apt-get >/dev/null \
        || die "please install ${missing[*]} (the names are Debian's): there is no apt-get here"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null \
        || die "please install as root: apt-get install ${missing[*]}"
    say "Installing ${missing[*]}"
    as_root apt-get update -qq
    without_services as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
    # Nor at the next boot: they would take ports.
    for package in caddy prometheus; do
        case " ${missing[*]} " in
        *" $package "*)
            ! command -v systemctl >/dev/null || as_root systemctl disable --quiet "$package"
            ;;
        esac
    done
}

# Tests start what they use themselves; a service that a package starts would only be in the way.
without_services() {
    local policy=/usr/sbin/policy-rc.d ours=''
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 0755 "$policy"
    fi
    local status=0
    "$@" || status=$?
    [ -z "$ours" ] || as_root rm -f "$policy"
    return "$status"
}

# They run for minutes and are used for seconds, so they are built fast rather than made fast.
install_cargo_tools() {
    local line name version
    for line in "${cargo[@]}"; do
        read -r name version <<<"$line"
        command -v "$name" >/dev/null && continue
        say "Installing $name $version (once, some minutes)"
        CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
            CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 \
            cargo install --locked --version "=$version" "$name"
    done
}

install_components() {
    local component
    for component in rustfmt clippy; do
        command -v "cargo-${component/rustfmt/fmt}" >/dev/null \
            && "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || die "please install $component with the Rust toolchain"
        rustup component add "$component"
    done
}

cd "$(dirname "$0")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin"
command -v cargo >/dev/null || die "please install a Rust toolchain first: cargo is not there"

install_for_tests() {
    install_packages "${dev[@]}" "${test[@]}"
    install_components
    install_cargo_tools
    tests/kryoptic/build.sh >/dev/null
    tests/clients/packages.sh >/dev/null
    tests/recovery/upgrade/build.sh >/dev/null
}

case "${1:-test}" in
dev)
    install_packages "${dev[@]}"
    ;;
test)
    install_for_tests
    ;;
bench)
    install_for_tests
    install_packages "${bench[@]}"
    ;;
release)
    if ! benches/llvm-profdata.sh >/dev/null 2>&1 && command -v rustup >/dev/null; then
        rustup component add llvm-tools || say 'Debian has one, too'
    fi
    install_packages "${dev[@]}" "${release[@]}"
    ;;
*) die "usage: tests/install.sh [dev|test|bench|release]" ;;
esac
