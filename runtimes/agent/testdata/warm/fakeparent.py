"""A forking parent that does what its argument says, before or after ready."""
import json
import os
import socket
import sys
import time

control = socket.socket(fileno=3)
mode = sys.argv[1]


def say(**message):
    control.send(json.dumps(message).encode())


def ready():
    say(ready=True, forks=True, notices=[])


def take():
    """Returns a request's ID and the order pipe; the other descriptors stay open."""
    data, fds, _, _ = socket.recv_fds(control, 1 << 18, 4)
    return (json.loads(data)["id"], fds[3]) if data else sys.exit()


def refuse():
    say(id=take()[0], error="no room")
    refuse()


def stay():
    time.sleep(1000)


def answer(**message):
    def mode():
        ready()
        say(id=take()[0], **message)
        stay()
    return mode


def fork():
    """Makes a child that does nothing; returns its request's ID and the order pipe."""
    child, order = take()
    pid = os.fork()
    if pid == 0:
        control.close()  # or it would hide this process' end
        os.setsid()
        stay()
    say(id=child, pid=pid)
    return child, order


def unused(fault):
    """The fault comes while the child waits."""
    def mode():
        ready()
        fault(fork()[0])
        stay()
    return mode


def used(fault):
    """The fault comes once the child has its order."""
    def mode():
        ready()
        child, order = fork()
        while os.read(order, 1 << 16):
            pass
        fault(child)
        stay()
    return mode


FAULTS = {
    "dies": lambda child: sys.exit(3),
    "closes": lambda child: control.close(),
    "no JSON": lambda child: control.send(b"{"),
    "begins twice": lambda child: say(id=child, pid=os.getpid()),
    "stopped is no end": lambda child: say(id=child, status=0x137F),
    "no signal": lambda child: say(id=child, status=100),
    "a huge status": lambda child: say(id=child, status=1 << 40),
}
MODES = {
    "dies": lambda: sys.exit(3),
    "forks not": lambda: (say(ready=True, forks=False, notices=["a reason"]), stay()),
    "never ready": stay,
    "no JSON": lambda: (control.send(b"{"), stay()),
    "a list": lambda: (control.send(b"[]"), stay()),
    "another type": lambda: (control.send(b'{"ready":1}'), stay()),
    "too long": lambda: (control.send(json.dumps({"ready": True, "forks": True, "notices": ["x" * 70000]}).encode()), stay()),
    "ready twice": lambda: (ready(), ready(), stay()),
    "a child that there is not": lambda: (ready(), say(id=7, pid=100000), stay()),
    "closes": lambda: (control.close(), stay()),
    "refuses": lambda: (ready(), refuse()),
    "no number": answer(pid="1"),
    "PID 1": answer(pid=1),
    "PID -1": answer(pid=-1),
    "end before the beginning": answer(status=0),
    "neither": answer(),
    "silence": lambda: (ready(), take(), stay()),
    "dies in a fork": lambda: (ready(), take(), sys.exit(3)),
}
for name, fault in FAULTS.items():
    MODES["unused: " + name] = unused(fault)
    MODES["used: " + name] = used(fault)
MODES[mode]()
