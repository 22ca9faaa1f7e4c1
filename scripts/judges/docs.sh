#!/usr/bin/env bash
# Uses the page at /docs in Chromium. `scripts/judges/docs.sh PICTURE.png` keeps a picture of it.
set -euo pipefail
. "$(dirname "$0")/gateway.sh"
BROWSER=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$BROWSER" ]; then
	scripts/apt.sh chromium >"$WORK/apt" 2>&1 || missing "there is no Chromium: $(tail -1 "$WORK/apt")"
	BROWSER=$(command -v chromium)
fi
command -v npm >/dev/null || missing "there is no npm"
npm install --silent --no-audit --no-fund --no-save --prefix .tools/playwright playwright-core@1.64.1 >"$WORK/npm" 2>&1 ||
	missing "playwright-core can't be installed: $(tail -1 "$WORK/npm")"
timeout 120 node scripts/judges/docs.mjs "$GATEWAY" "$BROWSER" .tools/playwright/node_modules/playwright-core/index.js "$@"
