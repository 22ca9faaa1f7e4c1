"""Prints the file of its parameters, whose it is, and what else is there."""
import os
import stat

name = os.environ["ATTUNE_PARAMETER_FILE"]
about = os.stat(name)
with open(name) as file:
    print(file.read(), about.st_uid == os.getuid() == os.stat("/proc/self").st_uid, oct(stat.S_IMODE(about.st_mode)),
          os.listdir(os.environ["HOME"]), os.path.dirname(name) == os.environ["HOME"])
