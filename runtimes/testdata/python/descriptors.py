import os
with open("/dev/stdout", "w") as f:
    f.write("by name\n")
print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), os.umask(0o22))
