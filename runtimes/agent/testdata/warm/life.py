"""Prints to both outputs what it was given, and ends with the code of its argument."""
import os
import sys

print("out", sys.stdin.read(), *sys.argv[1:], os.environ.get("GREETING"))
print("err", file=sys.stderr)
with open(os.environ["HOME"] + "/left", "x"):
    pass
if sys.argv[1].startswith("-"):
    os.kill(os.getpid(), -int(sys.argv[1]))
sys.exit(int(sys.argv[1]))
