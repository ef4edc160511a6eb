#!/usr/bin/env bash
# Offers once, at a terminal, to trust the home's CA: offer-trust.sh LEADGLASS HOME
set -euo pipefail
leadglass=$1 home=$2
asked=$home/.trust-offered
[ -t 0 ] && [ -t 1 ] && [ ! -e "$asked" ] || exit 0
echo
"$leadglass" trust --home "$home" || echo "Later: $leadglass trust --home $home. Until then use one-time codes, not passkeys."
touch "$asked"
