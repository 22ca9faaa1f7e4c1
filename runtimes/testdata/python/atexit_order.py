import atexit
atexit.register(print, "first registered")
atexit.register(print, "second registered")
atexit.register(lambda: print("__file__" in globals()))
print("end of script")
