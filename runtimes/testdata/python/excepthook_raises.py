import sys


def hook(*args):
    raise LookupError("in the hook")


sys.excepthook = hook
raise RuntimeError("original")
