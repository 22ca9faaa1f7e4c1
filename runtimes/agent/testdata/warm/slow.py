"""A module that takes its time, and leaves a file."""
import os
import time

os.makedirs(os.environ["HOME"] + "/.cache", exist_ok=True)
with open(os.environ["HOME"] + "/.cache/left", "w") as file:
    file.write("left")
time.sleep(0.7)
