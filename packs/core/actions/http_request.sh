#!/bin/bash
# Sends a request with curl. No parameter becomes a part of the command line
# that curl could take for an option.
set -euo pipefail

params=$(cat)
get() { jq -r "$1" <<<"$params"; }

options=(--silent --show-error --globoff --proto '=http,https' --max-time "$(get .timeout)")
method=$(get .method)
if [[ $method == HEAD ]]; then options+=(--head); else options+=(--request "$method"); fi
if [[ $(get .follow_redirects) == true ]]; then options+=(--location --max-redirs 10); fi
while IFS= read -r header; do
  options+=(--header "$header")
done < <(get '.headers | to_entries[] | "\(.key): \(.value)"')
if [[ $(get '.body != ""') == true ]]; then
  jq -j .body <<<"$params" >"$TMPDIR/request"
  options+=(--data-binary "@$TMPDIR/request")
fi

: >"$TMPDIR/response"
curl "${options[@]}" --output "$TMPDIR/response" --write-out '%{json}\n%{header_json}' --url "$(get .url)" >"$TMPDIR/facts"

jq -s --rawfile body "$TMPDIR/response" '.[0] as $facts | .[1] as $headers | {
  status_code: $facts.http_code,
  success: ($facts.http_code >= 200 and $facts.http_code < 300),
  url: $facts.url_effective,
  headers: ($headers | map_values(join(", "))),
  body: (if $facts.method == "HEAD" then "" else $body end),
  elapsed_ms: ($facts.time_total * 1000 | floor),
}' "$TMPDIR/facts"
