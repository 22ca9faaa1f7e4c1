"""Prints the secrets, and that nobody can change them."""
import json
import os

fd = int(os.environ["ATTUNE_SECRETS_FD"])
print(json.load(os.fdopen(os.dup(fd))))
for attack in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 1 << 20)):
    try:
        attack()
        print("changed")
    except OSError:
        pass
