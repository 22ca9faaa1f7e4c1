import sys
sys.exit({"code": 3})
