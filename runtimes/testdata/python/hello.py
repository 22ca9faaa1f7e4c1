import json, sys
p = json.load(sys.stdin)
print(json.dumps({"hi": p["name"], "argv": sys.argv[1:]}))
