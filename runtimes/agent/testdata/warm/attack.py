#!/usr/bin/env python3
"""Tries everything that a process might do to another; prints what succeeded.
Arguments: process IDs to attack, then files and directories to look into."""
import ctypes
import os
import resource
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def trace(pid):
    if libc.ptrace(16, pid, None, None) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0x40000000)
    libc.ptrace(17, pid, None, None)


def read(name):
    def attack(pid):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            file.read(1) if name != "mem" else None
    return attack


ATTACKS = {
    "signal": lambda pid: os.kill(pid, 0),
    "group": lambda pid: os.killpg(pid, 0) if pid > 1 else os.kill(2**30, 0),  # group 1 is everybody
    "continue": lambda pid: os.kill(pid, 18),
    "trace": trace,
    "environ": read("environ"),
    "mem": read("mem"),
    "maps": read("maps"),
    "auxv": read("auxv"),
    "io": read("io"),
    "fd": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "stdout": lambda pid: os.close(os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)),
    "cwd": lambda pid: os.listdir(f"/proc/{pid}/cwd/"),
    "root": lambda pid: os.listdir(f"/proc/{pid}/root"),
    "exe": lambda pid: os.readlink(f"/proc/{pid}/exe"),
    "nice": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 10),
    "affinity": lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(0)),
    "limits": lambda pid: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0)),
    "score": lambda pid: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"),
}



def attempt(what, attack, *args):
    try:
        attack(*args)
    except OSError:
        return
    print(what, flush=True)


for target in sys.argv[1:]:
    if target == "self":  # proves that the attacks are ones
        child = os.fork()
        if child == 0:
            os.setsid()
            while True:
                os.read(os.pipe()[0], 1)
        while os.getpgid(child) != child:
            pass
        for name, attack in ATTACKS.items():
            attempt(f"{name} self", attack, child)
        os.kill(child, 9)
        os.waitpid(child, 0)
    elif target.startswith("/"):
        attempt(f"read {target}", lambda: (os.listdir if os.path.isdir(target) else open)(target))
        attempt(f"write {target}", lambda: open(os.path.join(target, "x") if os.path.isdir(target) else target, "w"))
        attempt(f"remove {target}", lambda: os.rename(target, target + "-"))
    elif int(target) != os.getpid():
        for name, attack in ATTACKS.items():
            attempt(f"{name} {target}", attack, int(target))
print("end")
