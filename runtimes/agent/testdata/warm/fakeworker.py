"""A worker that does what its argument says: "ready" and frames after a call, as
"TYPE:TEXT", "TYPE*SIZE" for so many bytes, "TYPE!SIZE" for an announcement alone,
"close", "exit", or "raw:TEXT" for what is on descriptor 1."""
import os
import socket
import struct
import sys
import time

wire = socket.socket(fileno=3)


def do(word):
    if word == "ready":
        wire.sendall(struct.pack(">IB", 0, 7))
    elif word == "call":
        size, _ = struct.unpack(">IB", wire.recv(5, socket.MSG_WAITALL))
        wire.recv(size, socket.MSG_WAITALL)
    elif word == "close":
        wire.close()
    elif word == "exit":
        sys.exit(3)
    elif word == "many":
        while True:
            wire.sendall(struct.pack(">IB", 65536, 2) + b"x" * 65536)
    elif word.startswith("raw:"):
        os.write(1, word[4:].encode())
    elif "!" in word:
        kind, size = word.split("!")
        wire.sendall(struct.pack(">IB", int(size), int(kind)))
    elif "*" in word:
        kind, size = map(int, word.split("*"))
        wire.sendall(struct.pack(">IB", size, kind) + b"1" * size)
    else:
        kind, text = word.split(":", 1)
        wire.sendall(struct.pack(">IB", len(text.encode()), int(kind)) + text.encode())


for word in sys.argv[1:]:
    do(word)
time.sleep(1000)
