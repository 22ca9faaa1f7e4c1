#!/usr/bin/env bash
# Holds a running gateway against its own OpenAPI document with schemathesis, all checks. `scripts/judges/schemathesis.sh`
# takes further options of "schemathesis run".
set -euo pipefail
. "$(dirname "$0")/gateway.sh"
python3 -m venv .tools/schemathesis >/dev/null || missing "there is no Python with venv"
.tools/schemathesis/bin/pip install --quiet --disable-pip-version-check -r scripts/judges/requirements.txt ||
	missing "schemathesis can't be installed"
cp scripts/judges/schemathesis.toml "$WORK/"
cd "$WORK" # what it leaves behind goes with it
"$OLDPWD/.tools/schemathesis/bin/schemathesis" --config-file schemathesis.toml run "$GATEWAY/openapi.json" \
	--checks all --max-examples "${EXAMPLES:-30}" --request-timeout 20 --seed "${SEED:-1}" "$@"
