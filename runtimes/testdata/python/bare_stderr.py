import sys
sys.stderr.write("no newline")
print("out", flush=True)
sys.stderr = None
print("gone")
