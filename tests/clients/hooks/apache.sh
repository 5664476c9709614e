#!/bin/sh
# mod_md's MDChallengeDns01: setup NAME VALUE, then teardown NAME.
set -eu
[ "$1" != setup ] || echo "$3" >>"$SHOWN/txt/_acme-challenge.$2"
