import ctypes, json, os

seen = {}
with open("/proc/self/status") as status:
    for line in status:
        name, _, value = line.partition(":")
        if name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs"):
            seen[name] = " ".join(value.split())


def refused(name, act):
    try:
        act()
        seen[name] = "allowed"
    except OSError as error:
        seen[name] = type(error).__name__


def read(path):
    with open(path, "rb") as file:
        file.read(1)


seen["dumpable"] = str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
seen["session"] = "own" if os.getsid(0) == os.getpid() else "another's"
fds = (int(fd) for fd in os.listdir("/proc/self/fd"))
seen["descriptors"] = " ".join(str(fd) for fd in sorted(fds) if os.path.exists(f"/proc/self/fd/{fd}"))
seen["env"] = " ".join(os.environ)
refused("setuid", lambda: os.setuid(65532))
refused("become another", lambda: os.setresuid(61004, 61004, 61004))
refused("kill the parent", lambda: os.kill(os.getppid(), 0))
refused("read the parent", lambda: read(f"/proc/{os.getppid()}/mem"))
print(json.dumps(seen))
