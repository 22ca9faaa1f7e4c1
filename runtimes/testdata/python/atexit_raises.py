import atexit


class Bad:
    def __call__(self):
        raise RuntimeError("in atexit")

    def __repr__(self):
        return "Bad"


atexit.register(print, "after the bad one")
atexit.register(Bad())
