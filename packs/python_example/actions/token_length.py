import json
import sys

token = json.load(sys.stdin)["token"]  # what this prints of it would be masked
print(json.dumps({"length": len(token)}))
