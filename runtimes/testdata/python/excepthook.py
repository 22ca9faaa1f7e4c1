import sys


def hook(kind, error, trace):
    names = []
    while trace:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    print("hooked", kind.__name__, error, names, error.__traceback__ is sys.last_traceback)


def f():
    raise RuntimeError("x")


sys.excepthook = hook
f()
