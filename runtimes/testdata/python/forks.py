import os, sys
pid = os.fork()
if pid == 0:
    print("child")
    sys.exit(3)
_, status = os.waitpid(pid, 0)
print("parent", os.WEXITSTATUS(status))
