class Noisy:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        print("finalized", self.name)


a = Noisy("global")
cycle = [Noisy("in a cycle")]
cycle.append(cycle)


def f():
    keep = Noisy("local")


f()
del cycle
print("end")
