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
    """Returns a request's ID; its descriptors stay open here."""
    data, fds, _, _ = socket.recv_fds(control, 1 << 18, 4)
    return json.loads(data)["id"] if data else sys.exit()


def refuse():
    say(id=take(), error="no room")
    refuse()


def answer(**message):
    def mode():
        ready()
        say(id=take(), **message)
        time.sleep(1000)
    return mode


def ends(status):
    def mode():
        ready()
        child = take()
        say(id=child, pid=os.getpid() + 100000)
        say(id=child, status=status)
        time.sleep(1000)
    return mode


MODES = {
    "dies": lambda: sys.exit(3),
    "forks not": lambda: (say(ready=True, forks=False, notices=["a reason"]), time.sleep(1000)),
    "never ready": lambda: time.sleep(1000),
    "no JSON": lambda: (control.send(b"{"), time.sleep(1000)),
    "a list": lambda: (control.send(b"[]"), time.sleep(1000)),
    "another type": lambda: (control.send(b'{"ready":1}'), time.sleep(1000)),
    "too long": lambda: (control.send(json.dumps({"ready": True, "forks": True, "notices": ["x" * 70000]}).encode()), time.sleep(1000)),
    "ready twice": lambda: (ready(), ready(), time.sleep(1000)),
    "a child that there is not": lambda: (ready(), say(id=7, pid=100000), time.sleep(1000)),
    "closes": lambda: (control.close(), time.sleep(1000)),
    "refuses": lambda: (ready(), refuse()),
    # Until here no execution comes to harm, from here on the first is lost.
    "no number": answer(pid="1"),
    "PID 1": answer(pid=1),
    "PID -1": answer(pid=-1),
    "end before the beginning": answer(status=0),
    "neither": answer(),
    "silence": lambda: (ready(), take(), time.sleep(1000)),
    "dies in a fork": lambda: (ready(), take(), sys.exit(3)),
    "stopped is no end": ends(0x137F),
    "no signal": ends(100),
    "a huge status": ends(1 << 40),
}
MODES[mode]()
