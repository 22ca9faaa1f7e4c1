#!/usr/bin/env -S python3 -u
"""Leaves traces in its scratch directory, prints "pid N" and stays."""
import os
import time

with open(os.environ["HOME"] + "/secret", "w") as file:
    file.write("secret")
os.chmod(file.name, 0o666)
print("pid", os.getpid(), flush=True)
time.sleep(1000)
