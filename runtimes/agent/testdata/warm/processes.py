#!/usr/bin/env python3
"""Prints all other processes: "PID UID ARGV…"."""
import os

for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) != os.getpid():
        with open(f"/proc/{pid}/status") as status, open(f"/proc/{pid}/cmdline") as cmdline:
            uid = next(line.split()[1] for line in status if line.startswith("Uid:"))
            print(pid, uid, " ".join(cmdline.read().split("\0")))
