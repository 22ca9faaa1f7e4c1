import ctypes
libc = ctypes.CDLL(None)
libc.puts(b"from C, buffered")
print("from Python")
