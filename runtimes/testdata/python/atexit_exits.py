import atexit, sys


class Exit:
    def __call__(self):
        sys.exit(5)

    def __repr__(self):
        return "Exit"


atexit.register(Exit())
