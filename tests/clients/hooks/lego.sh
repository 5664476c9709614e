#!/bin/sh
# lego's exec provider for dns-01: present FQDN VALUE, then cleanup FQDN VALUE.
set -eu
[ "$1" != present ] || echo "$3" >>"$SHOWN/txt/${2%.}"
