print(__doc__, __name__, __file__.endswith("no_docstring.py"))
x: int = 1
print(__annotations__ if "__annotations__" in globals() else None)
