"""A docstring."""
print(sorted((k, repr(v)[:30]) for k, v in globals().items() if k not in ("__loader__",)))
print(type(__loader__).__name__, __loader__.name, __loader__.path == __file__, __doc__, __spec__, __package__)
