import sys
print("__main__" in sys.modules, sys.modules["__main__"].__file__ == __file__, sys.modules["__main__"].__dict__ is globals())
import importlib
print(importlib.import_module("neighbour").VALUE, "parent" in sys.modules)
