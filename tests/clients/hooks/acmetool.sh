#!/bin/sh
# acmetool's hook for dns-01: challenge-dns-start NAME TARGET VALUE; 42 means that it is not for us.
set -eu
case "$1" in
challenge-dns-start) echo "$4" >>"$SHOWN/txt/_acme-challenge.$2" ;;
challenge-dns-stop) rm -f "$SHOWN/txt/_acme-challenge.$2" ;;
*) exit 42 ;;
esac
