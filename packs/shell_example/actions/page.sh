#!/usr/bin/env bash
# The result is an envelope: it says what the answer is.
set -euo pipefail
jq -c '{
  status: 200,
  headers: {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "max-age=60"},
  body: ("<h1>" + ([range(.times) as $i | "Hello, \(.name)!"] | join(" ") | @html) + "</h1>\n")
}'
