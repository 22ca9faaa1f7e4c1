import os, subprocess, sys
print(sorted(os.environ.items()))
print(subprocess.run(["env"], capture_output=True, text=True).stdout == "".join(f"{k}={v}\n" for k, v in os.environ.items()))
os.environ["NEW"] = "1"
print(subprocess.run(["sh", "-c", "echo $NEW $ONE"], capture_output=True, text=True).stdout)
import ctypes
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(b"ONE"), getenv(b"ATTUNE_PRELOAD"), os.getenvb(b"ONE"))
