"""Reads one parameter that is required, and one that has a default."""

import json
import sys

import humanize

params = json.loads(sys.stdin.readline())  # the parameters are on one line
counter = params["counter"]

print(
    json.dumps(
        {
            "counter": counter,
            "message": f"the {humanize.ordinal(counter)} value, {humanize.intcomma(counter)}, came from {params['source']}",
        }
    )
)
