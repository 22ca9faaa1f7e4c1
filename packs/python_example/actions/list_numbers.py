"""Writes many results: with output_format jsonl each line is one."""

import json
import sys

params = json.load(sys.stdin)

for number in range(params["start"], params["start"] + params["count"]):
    print(json.dumps({"number": number, "square": number * number}))
