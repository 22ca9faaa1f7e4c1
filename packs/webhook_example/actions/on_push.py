"""Says in one line what was pushed: parameters come on stdin, the result goes to stdout."""

import json
import sys

params = json.load(sys.stdin)

if params["event"] == "push":
    branch = params["ref"].removeprefix("refs/heads/")
    titles = [commit["message"].splitlines()[0] for commit in params["commits"]]
    text = f"{len(titles)} to {branch} of {params['repository']}: {'; '.join(titles)}"
else:
    text = f"{params['event']} from {params['repository']}"

print(text, file=sys.stderr)  # stderr is the log
print(json.dumps({"text": text}))
