#!/usr/bin/env bash
# Holds a running gateway against its own OpenAPI document with schemathesis; its checks are all on, except where schemathesis.toml says why not. `scripts/judges/schemathesis.sh`
# takes further options of "schemathesis run".
set -euo pipefail
. "$(dirname "$0")/gateway.sh"
python3 -m venv .tools/schemathesis >/dev/null || missing "there is no Python with venv"
.tools/schemathesis/bin/pip install --quiet --disable-pip-version-check -r scripts/judges/requirements.txt ||
	missing "schemathesis can't be installed"
# With a key there is something to find in how others are turned away.
KEY=$(curl -sf --json '{"name":"judge","scopes":["admin"]}' "$GATEWAY/api/v1/keys" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
cp scripts/judges/schemathesis.toml "$WORK/"
cd "$WORK" # what it leaves behind goes with it
"$OLDPWD/.tools/schemathesis/bin/schemathesis" --config-file schemathesis.toml run "$GATEWAY/openapi.json" \
	--max-examples "${EXAMPLES:-30}" --request-timeout 20 --seed "${SEED:-1}" \
	--header "Authorization: Bearer $KEY" "$@"
