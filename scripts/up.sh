#!/usr/bin/env bash
# Brings the services up and waits until the gateway answers, because `up --wait` is unknown to older Compose.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${ATTUNE_PORT:-8080}

scripts/compose.sh up -d --remove-orphans
gateway=$(scripts/compose.sh ps -q gateway)
until docker exec "$gateway" attune health >/dev/null 2>&1; do
	if [ "$SECONDS" -ge 90 ]; then
		echo "The gateway is not ready after $SECONDS s. Its last words:" >&2
		docker logs --tail 30 "$gateway" >&2
		exit 1
	fi
	sleep 0.3
done

echo "The gateway is ready. Try:"
for pack in python_example nodejs_example shell_example; do
	echo "  curl -d '{\"name\":\"Ada\"}' http://127.0.0.1:$port/invoke/$pack.hello"
done
echo "Logs: scripts/compose.sh logs -f gateway     Stop: make down"
