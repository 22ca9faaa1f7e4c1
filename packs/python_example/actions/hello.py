"""Greets somebody: parameters come on stdin, the result goes to stdout."""

import json
import platform
import sys

import humanize

params = json.load(sys.stdin)
name = params["name"]

print(f"greeting {name}", file=sys.stderr)  # stderr is the log

print(
    json.dumps(
        {
            "greeting": f"Hello, {name}!",
            "letters": humanize.apnumber(len(name)),
            "python": platform.python_version(),
            "executable": sys.executable,
        }
    )
)
