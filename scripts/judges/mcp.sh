#!/usr/bin/env bash
# Holds a running gateway against the conformance suite of the Model Context Protocol. What does not apply to it is
# listed, with reasons, in mcp-not-applicable.yaml; a scenario there that passes is an error, too.
set -euo pipefail
. "$(dirname "$0")/gateway.sh"
VERSION=0.1.13 # the newest that Node 20 runs
command -v npm >/dev/null || missing "there is no npm"
npm install --silent --no-audit --no-fund --no-save --prefix .tools/mcp-conformance "@modelcontextprotocol/conformance@$VERSION" >"$WORK/npm" 2>&1 ||
	missing "the conformance suite can't be installed: $(tail -1 "$WORK/npm")"
node .tools/mcp-conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js server --url "$GATEWAY/mcp" \
	--output-dir "$WORK/results" --expected-failures scripts/judges/mcp-not-applicable.yaml "$@" >"$WORK/out" 2>&1 || {
	cat "$WORK/out"
	exit 1
}
grep '^✓' "$WORK/out"
