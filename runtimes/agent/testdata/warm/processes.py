#!/usr/bin/env python3
"""Prints all other processes: "PID UID PARENT ARGV…"."""
import os

for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) == os.getpid():
        continue
    try:
        with open(f"/proc/{pid}/status") as status, open(f"/proc/{pid}/cmdline") as cmdline:
            parent, uid = (line.split()[1] for line in status if line.startswith(("PPid:", "Uid:")))
            print(pid, uid, parent, " ".join(cmdline.read().split("\0")))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has gone meanwhile
