import atexit, sys
atexit.register(lambda: print("last:", sys.last_type.__name__, sys.last_traceback.tb_lineno))
raise LookupError("x")
