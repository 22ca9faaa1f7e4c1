class Noisy:
    def __del__(self):
        print("finalized")


def f():
    held = Noisy()
    raise RuntimeError("holds a local")


f()
