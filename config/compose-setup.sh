#!/bin/sh
# Makes what docker-compose.yml needs once: a token, a root and an issuing CA. What is there already stays.
set -eu
umask 077
folder=/var/lib/kipuka
export KIPUKA_CONFIG="${KIPUKA_CONFIG:-/etc/kipuka/kipuka.toml}"
mkdir -p "$folder/tokens" "$folder/ca"
if [ -z "$(ls "$folder/tokens")" ]; then
    # The security officer's PIN is needed by nobody here.
    SO_PIN="$KIPUKA_HSM_PIN" kipuka hsm init-token --so-pin-env SO_PIN
fi
[ -e "$folder/ca/root.pem" ] || kipuka ca create-root --id 01 --generate ec-p384 --label root \
    --subject "CN=Example Root" --days 7300 --path-len 1 --out "$folder/ca/root.pem"
[ -e "$folder/ca/ca.pem" ] || kipuka ca create-intermediate --id 02 --generate ec-p256 --label ca \
    --issuer-id 01 --issuer-cert "$folder/ca/root.pem" --subject "CN=Example CA" --days 3650 --path-len 0 \
    --out "$folder/ca/ca.pem"
