#!/bin/sh
# uacme's hook: METHOD TYPE NAME TOKEN VALUE. It tries one type after the other until a hook says yes.
set -eu
case "$1 $2" in
"begin http-01") [ "$CHALLENGE" = http-01 ] && printf %s "$5" >"$SHOWN/http-01/$4" ;;
"begin dns-01") [ "$CHALLENGE" = dns-01 ] && echo "$5" >>"$SHOWN/txt/_acme-challenge.$3" ;;
begin*) exit 1 ;;
esac
