"""Leaves what its argument says."""
import os
import sys
import time

home = os.environ["HOME"]
what = sys.argv[1]
if what == "files":
    os.makedirs(home + "/a/b")
    os.symlink("/", home + "/root")
    os.mkfifo(home + "/a/p")
    os.chmod(home + "/a/b", 0)
    os.chmod(home + "/a", 0)
elif what == "session":
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)
else:  # orphans in all sessions, deaf
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(3):
        if os.fork() == 0:
            while True:
                os.fork()
                time.sleep(0.05)
