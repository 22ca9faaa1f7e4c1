"""The worker: calls main(params, context) of action files, one call at a time.

Descriptor 3 is a stream socket to the gateway. Both ways go frames: length of the
payload (4 bytes, big-endian), type (1 byte), payload. docs/handlers.md says what a
handler may do, and runtimes/agent/worker.md what the frames mean. Whatever a
handler does wrong is the failure of its call, and the worker stays usable.
"""
import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]  # this file's directory, which must shadow nothing

import importlib.machinery
import importlib.util
import io
import json
import os
import socket
import struct
import threading
import time
import types

CALL, STDOUT, STDERR, RESULT, TEXT, FAILURE, READY, ITEM = range(1, 9)
MAX_CHUNK = 64 << 10  # of output
MAX_FAILURE = 60 << 10  # the gateway takes a little more
MAX_RESULT = 64 << 20  # the gateway takes less, and says so itself
HEADER = struct.Struct(">IB")

encode_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
PLAIN = {dict, list, str, int, float, bool, tuple, type(None)}  # results that nobody has to wait for


class Wire:
    """The frames. Output from threads is sent while a call runs, and dropped
    between calls, when a worker must be silent."""

    def __init__(self, sock):
        self.sock = sock
        self.lock = threading.RLock()  # finalizers print, too, whenever they run
        self.calling = False
        self.forked = False  # a child of a handler; it has no say
        os.register_at_fork(before=self.lock.acquire, after_in_parent=self.lock.release, after_in_child=self.disown)

    def disown(self):
        self.forked = True
        self.sock.close()
        self.lock.release()

    def receive(self):
        """Returns the next call's payload, None at the gateway's end."""
        data = self.sock.recv(MAX_CHUNK)
        if len(data) < 5:
            data = self.fill(data, 5)
        if not data:
            return None
        size, _ = HEADER.unpack_from(data)
        if len(data) < 5 + size:
            data = self.fill(data, 5 + size)
        return data[5:]

    def fill(self, data, size):
        whole = bytearray(data)
        while len(whole) < size:
            more = self.sock.recv(min(size - len(whole), 1 << 20))
            if not more:
                return b""
            whole += more
        return bytes(whole)

    def output(self, kind, data):
        with self.lock:
            if not self.calling:
                return
            for at in range(0, len(data), MAX_CHUNK):
                self.send(kind, data[at:at + MAX_CHUNK])

    def item(self, data):
        with self.lock:
            self.send(ITEM, data)

    def end(self, kind, data):
        with self.lock:
            self.calling = False
            self.send(kind, data)

    def send(self, kind, data):
        if self.forked:
            os._exit(0)  # a handler returned in a child that it had forked
        try:
            self.sock.sendall(HEADER.pack(len(data), kind) + data)
        except OSError:
            os._exit(0)  # the gateway is gone


class Output(io.RawIOBase):
    """What is under sys.stdout and sys.stderr."""

    def __init__(self, wire, kind):
        self.wire, self.kind = wire, kind

    def writable(self):
        return True

    def fileno(self):
        return self.kind - 1  # for subprocess: the real one goes to the same place

    def write(self, data):
        data = bytes(data)
        if self.wire.forked:
            at = 0
            while at < len(data):
                at += os.write(self.fileno(), data[at:])
        elif data:
            self.wire.output(self.kind, data)
        return len(data)


class Context:
    """What a handler knows about its call."""
    __slots__ = ("execution_id", "action", "pack", "secrets", "traceparent", "tracestate", "_deadline")

    def __init__(self, call, params):
        self.execution_id = call["id"]
        self.action = call["action"]
        self.pack = call["pack"]
        self.secrets = {name: params[name] for name in call["secrets"] if name in params}
        self.traceparent = call.get("traceparent")  # W3C Trace Context; None = no trace
        self.tracestate = call.get("tracestate")
        self._deadline = call.get("deadline")

    @property
    def deadline(self):
        """When the call is given up, a datetime in UTC; None = never."""
        from datetime import datetime, timezone
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, timezone.utc)

    def remaining(self):
        """Seconds until the deadline, at least 0."""
        return float("inf") if self._deadline is None else max(0.0, self._deadline - time.time())

    @property
    def logger(self):
        """Writes to stderr, from INFO on."""
        return logger()


def logger(made=[]):
    if not made:
        import logging

        class Handler(logging.StreamHandler):
            stream = property(lambda self: sys.stderr, lambda self, value: None)  # today's

        handler = Handler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        own = logging.Logger("attune", logging.INFO)  # nobody's child: nothing is said twice
        own.addHandler(handler)
        made.append(own)
    return made[0]


class Modules:
    """Action files that were loaded, by path."""

    def __init__(self):
        self.handlers = {}

    def handler(self, file):
        found = self.handlers.get(file)
        if found is None:
            module = self.load(file)
            found = getattr(module, "main", None)
            if not callable(found):
                what = "defines no main" if found is None else f"has a main of type {type(found).__name__}"
                self.forget(module)
                raise TypeError(f"{os.path.basename(file)} {what}: a handler is a function main(params, context)")
            self.handlers[file] = found
        return found

    def load(self, file):
        """Runs a file as a module. It can be imported by its name, as a script's
        neighbours can, unless another module has that name."""
        directory, base = os.path.split(os.path.realpath(file))
        if directory not in sys.path:
            sys.path.insert(0, directory)
        stem = name = base.partition(".")[0]
        while name in sys.modules:
            name = f"{stem}_{len(sys.modules)}"
        loader = importlib.machinery.SourceFileLoader(name, file)
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
        sys.modules[name] = module
        try:
            exec(loader.get_code(name), module.__dict__)
        except BaseException:
            self.forget(module)
            raise
        return module

    def forget(self, module):
        sys.modules.pop(module.__name__, None)


class Loop:
    """The event loop of all calls, made when the first needs it."""

    def __init__(self):
        self.loop = None

    def run(self, awaitable):
        import asyncio
        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        if not isinstance(awaitable, types.CoroutineType):
            awaitable = self.wait(awaitable)
        return self.loop.run_until_complete(awaitable)

    @staticmethod
    async def wait(awaitable):
        return await awaitable


class Worker:
    """Takes calls and answers them."""

    def __init__(self, wire):
        self.wire, self.modules, self.loop = wire, Modules(), Loop()
        self.open()

    def open(self):
        def stream(kind):
            return io.TextIOWrapper(Output(self.wire, kind), "utf-8", "backslashreplace", newline="\n", line_buffering=True)
        self.stdout, self.stderr = stream(STDOUT), stream(STDERR)

    def serve(self):
        while True:
            payload = self.wire.receive()
            if payload is None:
                os._exit(0)
            self.begin()
            try:
                kind, data = self.call(json.loads(payload))
            except BaseException as error:
                kind, data = FAILURE, failure(error)
            self.flush()
            self.wire.end(kind, data)
            payload = data = None  # an idle worker is small

    def begin(self):
        self.flush()  # to nobody: what threads of former calls have left
        if self.stdout.closed or self.stderr.closed:
            self.open()
        sys.stdout, sys.stderr = self.stdout, self.stderr
        self.wire.calling = True

    def flush(self):
        for stream in (self.stdout, self.stderr):
            if not stream.closed:
                stream.flush()

    def call(self, call):
        params = call["parameters"]
        result = self.modules.handler(call["file"])(params, Context(call, params))
        if type(result) not in PLAIN:
            result = self.settle(result)
        if isinstance(result, str):
            return TEXT, bounded(result.encode("utf-8", "backslashreplace"))
        if isinstance(result, (bytes, bytearray)):
            return TEXT, bounded(bytes(result).decode().encode())
        return RESULT, document(result)

    def settle(self, result):
        """Waits for what isn't a result yet."""
        if hasattr(result, "__await__"):
            result = self.loop.run(result)
        if isinstance(result, types.GeneratorType):
            return self.items(result)
        if isinstance(result, types.AsyncGeneratorType):
            return self.loop.run(self.async_items(result))
        return result

    def items(self, generator):
        """Sends what a generator yields; its return value is the result."""
        while True:
            try:
                value = next(generator)
            except StopIteration as stop:
                return stop.value
            self.send(value)

    async def async_items(self, generator):
        async for value in generator:
            self.send(value)

    def send(self, value):
        data = document(value)
        self.flush()
        self.wire.item(data)


def document(value):
    try:
        return bounded(encode_json(value).encode())
    except UnicodeEncodeError:  # half a surrogate pair
        return bounded(encode_ascii(value).encode())


def bounded(data):
    if len(data) > MAX_RESULT:
        raise ValueError(f"a result of {len(data)} bytes is more than {MAX_RESULT}")
    return data


def failure(error):
    """Describes an exception, whatever is wrong with it."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except BaseException as fault:
        message = f"its text can't be had: {type(fault).__name__}"
    if isinstance(error, SystemExit):
        message = f"the handler called sys.exit({error.code!r:.200})"
    try:
        import traceback
        text = "".join(traceback.format_exception(kind, error, handlers_part(error)))
    except BaseException as fault:
        text = f"{name}: the traceback can't be had: {type(fault).__name__}\n"
    room = 32 << 10
    while True:
        end = text if len(text) <= room else text[-room:].partition("\n")[2]  # whole lines: half a secret can't be masked
        data = encode_ascii({"type": name[:256], "message": message[:4 << 10], "traceback": end}).encode()
        if len(data) <= MAX_FAILURE or room == 0:
            return data if len(data) <= MAX_FAILURE else b'{"type":"Exception","message":"","traceback":""}'
        room, message = room // 2, message[:room // 8]


def handlers_part(error):
    """The traceback from the first frame on that is neither ours nor asyncio's."""
    trace, asyncio = error.__traceback__, sys.modules.get("asyncio")
    ours = (__file__, "<frozen importlib", os.path.dirname(asyncio.__file__) + "/" if asyncio else __file__)
    while trace and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    return trace


def preload():
    """Imports modules ahead of the first call; a call says best what is wrong
    with one that can't be imported."""
    for name in json.loads(os.environ.pop("ATTUNE_PRELOAD", "[]")):
        try:
            __import__(name)
        except BaseException as error:
            print(f"preload {name}: {type(error).__name__}: {error}", file=sys.stderr)


def serve():
    sock = socket.socket(fileno=3)
    sock.set_inheritable(False)
    preload()
    wire = Wire(sock)
    worker = Worker(wire)
    wire.send(READY, b"")
    worker.serve()


if __name__ == "__main__":
    serve()
