import os, sys
print(sys.path, os.getcwd(), sys.executable, sys.prefix, sys.flags, sys.argv)
print(getattr(sys, "orig_argv", None))
import neighbour
print(neighbour.VALUE)
