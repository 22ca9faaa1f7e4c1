import sys
sys.excepthook = lambda *args: sys.exit(4)
raise RuntimeError("original")
