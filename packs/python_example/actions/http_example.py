"""Fetches a page with a third-party package, from an action with network: outbound."""

import json
import sys

import humanize
import requests

params = json.load(sys.stdin)

try:
    response = requests.get(params["url"], timeout=20)
except requests.RequestException as err:
    sys.exit(f"can't fetch {params['url']}: {err}")  # a message on stderr, and exit code 1

print(
    json.dumps(
        {
            "url": response.url,
            "status_code": response.status_code,
            "content_type": response.headers.get("Content-Type", ""),
            "size": humanize.naturalsize(len(response.content)),
            "seconds": round(response.elapsed.total_seconds(), 3),
        }
    )
)
