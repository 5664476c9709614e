#!/bin/sh
# dehydrated's HOOK: deploy_challenge NAME TOKEN VALUE. With http-01 it writes into WELLKNOWN itself.
set -eu
case "$1 $CHALLENGETYPE" in
'deploy_challenge dns-01') echo "$4" >>"$SHOWN/txt/_acme-challenge.$2" ;;
'clean_challenge dns-01') rm -f "$SHOWN/txt/_acme-challenge.$2" ;;
esac
