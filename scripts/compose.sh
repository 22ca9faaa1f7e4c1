#!/usr/bin/env bash
# Runs Compose, as the plugin of `docker` or as the older program of its own, whichever is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The builders of environments trust what this host trusts, see docker-compose.yaml.
export ATTUNE_CA_BUNDLE=${ATTUNE_CA_BUNDLE:-$(scripts/ca-bundle.sh)}

if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
command -v docker-compose >/dev/null || scripts/apt.sh docker-compose || {
	echo "Compose is missing. Install it, then run this again:  sudo apt-get install docker-compose" >&2
	exit 1
}
exec docker-compose "$@"
