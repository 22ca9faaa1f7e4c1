#!/usr/bin/env bash
# Takes the services down and keeps the volumes. A gateway removes its own containers when it stops; if it had no time
# to, those that it left are known by their label and by a mount out of its volume. Those of other gateways stay.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/compose.sh down --remove-orphans

volume=$(docker volume inspect --format '{{.Mountpoint}}' "${ATTUNE_VOLUME:-runtime_envs}" 2>/dev/null) || exit 0
docker ps -aq --filter label=attune.gateway | while read -r id; do
	if docker inspect --format '{{range .Mounts}}{{println .Source}}{{end}}' "$id" | grep -q "^$volume\(/\|\$\)"; then
		docker rm -f "$id" >/dev/null
	fi
done
