#!/usr/bin/env bash
# Sends to a hook what the Standard Webhooks libraries of Python and Node have signed, and what another secret has.
set -euo pipefail
SECRET=whsec_$(head -c 32 /dev/urandom | base64)

prepare() {
	local pack=$WORK/packs/judged
	mkdir -p "$pack/actions" "$pack/hooks"
	printf 'ref: judged\nversion: 1.0.0\n' >"$pack/pack.yaml"
	printf 'ref: judged.take\nentry_point: take.sh\nparameters: {n: {type: integer}}\n' >"$pack/actions/take.yaml"
	printf 'cat\n' >"$pack/actions/take.sh"
	printf 'ref: judged.hook\naction: judged.take\nverify: {preset: standard-webhooks, secrets: ["%s"]}\nparameters: {n: /body/n}\n' \
		"$SECRET" >"$pack/hooks/hook.yaml"
}
. "$(dirname "$0")/gateway.sh"
python3 -m venv .tools/standardwebhooks >/dev/null || missing "there is no Python with venv"
.tools/standardwebhooks/bin/pip install --quiet --disable-pip-version-check standardwebhooks==1.1.0 || missing "Python's library can't be installed"
command -v npm >/dev/null || missing "there is no npm"
npm install --silent --no-audit --no-fund --no-save --prefix .tools/standardwebhooks-node standardwebhooks@1.1.1 >"$WORK/npm" 2>&1 ||
	missing "Node's library can't be installed: $(tail -1 "$WORK/npm")"

python() { # secret, id, time, body
	.tools/standardwebhooks/bin/python -c '
import datetime, sys
from standardwebhooks.webhooks import Webhook
secret, id, stamp, body = sys.argv[1:]
print(Webhook(secret).sign(id, datetime.datetime.fromtimestamp(int(stamp), datetime.timezone.utc), body), end="")' "$@"
}

javascript() {
	node scripts/judges/webhooks.mjs "$PWD/.tools/standardwebhooks-node/node_modules/standardwebhooks/dist/index.js" "$@"
}

HOOK=$(curl -sf "$GATEWAY/api/v1/hooks/judged.hook" | sed -n 's/.*"url":"\([^"]*\)".*/\1/p')
[ -n "$HOOK" ] || { echo "the hook has no URL" && exit 1; }

send() { # sender, secret, body sent, wanted status
	local id=msg_$RANDOM$RANDOM now signature status body='{"n":1,"ä":"\u2028"}'
	now=$(date +%s)
	signature=$("$1" "$2" "$id" "$now" "$body")
	status=$(curl -s -o "$WORK/answer" -w '%{http_code}' "$HOOK" -H 'Content-Type: application/json' -H "webhook-id: $id" \
		-H "webhook-timestamp: $now" -H "webhook-signature: $signature" --data-binary "${3:-$body}")
	[ "$status" = "$4" ] || { echo "$1: $status instead of $4: $(cat "$WORK/answer")" && exit 1; }
	echo "✓ $1: $4"
}

for sender in python javascript; do
	send "$sender" "$SECRET" "" 202
	send "$sender" "$SECRET" '{"n":2}' 401
	send "$sender" "whsec_$(printf %032d 7 | base64)" "" 401
done
