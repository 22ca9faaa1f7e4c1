import io, sys
sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.buffer.raw if hasattr(sys.stdout.buffer, "raw") else sys.stdout.buffer), encoding="utf-16")
print("wide")
