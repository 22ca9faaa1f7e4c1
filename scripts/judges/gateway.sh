# Sourced by the judges: starts a gateway of its own with the packs that need no installer, as plain processes, and ends
# it with the script. Sets GATEWAY, its URL, and WORK, a directory that is gone afterwards.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=$PWD/.tools/go/bin:$PATH:/usr/local/go/bin # as in the Makefile
WORK=$(mktemp -d "${TMPDIR:-/tmp}/attune-judge-XXXXXX")

stop() {
	if [ -n "${SERVER:-}" ]; then
		kill "$SERVER" 2>/dev/null || true
		wait "$SERVER" 2>/dev/null || true
	fi
	rm -rf "$WORK"
}
trap stop EXIT

# What a judge is made of comes from a registry. Where none answers, a laptop goes on without it; CI does not.
missing() {
	echo "JUDGE SKIPPED: $1" >&2
	[ -z "${CI:-}" ] || exit 1
	exit 0
}

CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$WORK/bin/" ./cmd/...
mkdir "$WORK/packs"
cp -R packs/core packs/shell_example "$WORK/packs/"
if declare -F prepare >/dev/null; then prepare; fi # more packs

# A long sleep is no finding, and nobody calls the outside world.
ATTUNE__SERVER__PORT=0 ATTUNE__ENGINE=process ATTUNE__PACKS_BASE_DIR=$WORK/packs ATTUNE__STATE_DIR=$WORK/state \
	ATTUNE__RUNTIME_ENVS_DIR=$WORK/envs ATTUNE__LIMITS__MAX_TIMEOUT=2s ATTUNE__LOG__FORMAT=json \
	"$WORK/bin/attune" serve >"$WORK/log" 2>&1 &
SERVER=$!
for _ in $(seq 100); do
	GATEWAY=$(sed -n 's/.*"msg":"ready","url":"\([^"]*\)".*/\1/p' "$WORK/log" | head -1)
	[ -z "$GATEWAY" ] || break
	kill -0 "$SERVER" 2>/dev/null || break
	sleep 0.1
done
[ -n "$GATEWAY" ] || { cat "$WORK/log" >&2 && exit 1; }
