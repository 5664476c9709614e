#!/bin/sh
# certbot's --manual-auth-hook, for dns-01.
set -eu
echo "$CERTBOT_VALIDATION" >>"$SHOWN/txt/_acme-challenge.$CERTBOT_DOMAIN"
