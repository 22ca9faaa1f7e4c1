import os
print("out")
os._exit(9)
