"""The forking parent: a warm interpreter whose children run executions.

The agent starts it with a SOCK_SEQPACKET socket on descriptor 3. It imports what
scripts commonly use and the modules named in ATTUNE_PRELOAD (a JSON list), says

    {"ready": true, "forks": bool, "notices": [text, ...]}

and forks a child for every message {"id", "uid", "scripts": [file, ...]} that comes
with the descriptors of stdin, stdout, stderr and of a pipe. It answers with
{"id", "pid"} or {"id", "error"}, and with {"id", "status"} (as of wait(2)) after the
child's end. The child confines itself and waits for its order, one JSON document
{"argv": [file, ...], "dir", "env": {}} and the end of the pipe: so everything that
takes time is over when there is something to run. `scripts` are those that are run
most, which are compiled before the fork. A child without uid keeps the parent's
user and rights: such an agent isolates nothing.

A script sees what it would see under `python3 -u file`. What that means decides
the odd places below: whatever can't be had exactly here is left to an interpreter
of its own by execv.
"""
PLAIN = dict(globals())  # what every __main__ begins with, in this version

import sys

BOOT = set(sys.modules)  # what a fresh interpreter has loaded
if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]  # this file's directory, which must shadow nothing

import array
import atexit
import ctypes
import gc
import io
import json
import os
import select
import signal
import socket
import stat
import time
import warnings
import weakref

# Scripts have these for nothing; a dozen megabytes, most of it shared.
import argparse, base64, collections, csv, dataclasses, datetime, decimal  # noqa: E401,F401
import functools, hashlib, hmac, inspect, itertools, linecache, logging, math  # noqa: E401,F401
import pathlib, random, re, shutil, string, subprocess, tempfile, textwrap  # noqa: E401,F401
import threading, traceback, typing, urllib.parse, uuid, zlib  # noqa: E401,F401

WARM = {}  # name -> module, of all that was loaded before the first fork
MAX_REQUEST = 64 << 10
MAX_COMPILED = 64  # files; a pack has fewer
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# prctl(2), capability.h
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 4, 38, 47, 4
libc = ctypes.CDLL(None, use_errno=True)
CAP_HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
NO_CAPS = (ctypes.c_uint32 * 6)()


def must(result):
    """Raises what a C function reports by -1: no script may run half confined."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def prctl(option, *values):
    values += (0,) * (4 - len(values))
    must(libc.prctl(option, *(ctypes.c_ulong(v) for v in values)))


def descriptors():
    """Lists what is open, without that of the listing itself."""
    return [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]


class Preload:
    """Imports modules, and notices what speaks against forking afterwards."""

    def __init__(self):
        self.forks, self.notices = True, []

    def run(self, names):
        added = [name for name in ONE_THREAD if name not in os.environ]
        os.environ.update(dict.fromkeys(added, "1"))  # a pool of threads would not survive a fork
        for name in names:
            before = self.census()
            try:
                __import__(name)
            except BaseException as error:
                self.notices.append(f"preload {name}: {type(error).__name__}: {error}"[:500])
            self.compare(name, before, self.settled(before))
        for name in added:
            os.environ.pop(name, None)

    def census(self):
        try:
            children = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not False
        except ChildProcessError:
            children = False
        return len(os.listdir("/proc/self/task")), children, set(descriptors())

    def settled(self, before):
        """The census once threads that have ended are gone: the kernel has one
        for a moment after its join."""
        patience = time.monotonic() + 0.2
        while True:
            after = self.census()
            if after[0] <= before[0] or time.monotonic() > patience:
                return after
            time.sleep(0.002)

    def compare(self, name, before, after):
        why = None
        if after[0] > before[0]:
            why = "threads"
        elif after[1] > before[1]:
            why = "processes"
        elif after[2] > before[2]:
            why = "files that it keeps open"
        if why:
            self.forks = False
            self.notices.append(f"preload {name} started with {why}: executions don't fork")


def piped_streams():
    """Makes stdin, stdout and stderr anew over pipes, as executions have them:
    stream objects remember what their descriptor could do when they were made."""
    saved = [os.dup(fd) for fd in range(3)]
    reading, writing = os.pipe()
    for fd in range(3):
        os.dup2(writing if fd else reading, fd)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        raw = io.FileIO(fd, "wb" if fd else "rb", closefd=False)
        raw.name = f"<{name}>"
        unbuffered = isinstance(old.buffer, io.RawIOBase)  # python3 -u
        buffer = raw if unbuffered else io.BufferedWriter(raw) if fd else io.BufferedReader(raw)
        new = io.TextIOWrapper(buffer, old.encoding, old.errors, newline="\n",
                               line_buffering=old.line_buffering, write_through=old.write_through)
        new.mode = "w" if fd else "r"
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    for fd in range(3):
        os.dup2(saved[fd], fd)
    for fd in (reading, writing, *saved):
        os.close(fd)


class Scripts:
    """Compiled files, by path."""

    def __init__(self):
        self.known = {}

    def load(self, path):
        """Returns code and its compiler's warnings; None for what the compiler
        or the file system refuses: an interpreter says that best itself."""
        try:
            now = os.stat(path)
            if not stat.S_ISREG(now.st_mode):
                return None
            version = now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
            known = self.known.get(path)
            if known and known[0] == version:
                return known[1]
            with open(path, "rb") as file:
                source = file.read()
            if source.startswith(b"PK"):
                return None  # an archive
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                code = compile(source, path, "exec", dont_inherit=True)
        except Exception:
            return None
        if len(self.known) >= MAX_COMPILED:
            self.known.clear()
        found = code, [(w.message, w.category, w.filename, w.lineno) for w in caught]
        self.known[path] = version, found
        return found


class Shadows:
    """Modules of the parent that a script's own directory has, too: a script
    imports the file beside it."""

    def __init__(self):
        self.known = {}

    def find(self, directory):
        try:
            version = os.stat(directory).st_mtime_ns
            if self.known.get(directory, (None,))[0] != version:
                names = {name.partition(".")[0] for name in os.listdir(directory)}
                self.known[directory] = version, [
                    name for name in WARM if name.partition(".")[0] in names and self.shadowed(name)]
            return self.known[directory][1]
        except OSError:
            return ()

    def shadowed(self, name):
        spec = getattr(WARM[name.partition(".")[0]], "__spec__", None)
        return name not in BOOT and spec is not None and spec.origin not in ("built-in", "frozen")


class Parent:
    """Serves requests, in one thread."""

    def __init__(self, control):
        self.control = control
        self.children = {}  # pid -> id
        self.scripts, self.shadows = Scripts(), Shadows()
        self.room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
        self.wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.poll.register(self.wake, select.POLLIN)

    def say(self, **message):
        self.control.send(json.dumps(message).encode())

    def serve(self):
        """Forks until the agent hangs up. Returns in children, ready to run."""
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.wake:
                    self.reap()
                    continue
                request, fds = self.receive()
                for script in request["scripts"]:
                    self.scripts.load(script)
                    self.shadows.find(os.path.dirname(script))
                try:
                    pid = os.fork()
                except OSError as error:
                    self.say(id=request["id"], error=f"fork: {error.strerror}")
                    pid = None
                if pid == 0:
                    self.control.detach()  # or its end would close the child's descriptor
                    return Child(request, fds, self.scripts, self.shadows)
                for fd in fds:
                    os.close(fd)
                if pid:
                    self.children[pid] = request["id"]
                    self.say(id=request["id"], pid=pid)

    def receive(self):
        try:
            data, control, _, _ = self.control.recvmsg(MAX_REQUEST, self.room)
        except ConnectionError:
            data = b""
        if not data:
            os._exit(0)  # the agent hung up
        fds = array.array("i")
        for _, _, payload in control:
            fds.frombytes(payload)
        return json.loads(data), fds

    def reap(self):
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            pass
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid in self.children:
                self.say(id=self.children.pop(pid), status=status)


class Child:
    """What becomes of a forked process. Nothing is imported in here: imports run
    code, and search paths, of the pack."""

    def __init__(self, request, fds, scripts, shadows):
        try:
            self.streams(fds)
            self.confine(request.get("uid"))
            order = self.order()
            self.surroundings(order)
        except Exception as error:
            os.write(2, f"start: {error}\n".encode())
            os._exit(126)
        argv = order["argv"]
        found = scripts.load(argv[0])
        if not found:
            os.execv(sys.executable, COMMAND + argv)
        self.code, self.warned = found
        self.interpreter(argv, shadows.find(os.path.dirname(argv[0])))

    def streams(self, fds):
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in range(4):
            os.dup2(fds[fd], fd)
        os.closerange(4, 64)  # descriptors are given lowest first, and no module keeps one

    def confine(self, uid):
        os.setsid()
        if uid is None:
            return
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        must(libc.capset(CAP_HEADER, NO_CAPS))
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        # As after an execve: /dev/stdin and /proc/self are the process's own. Nobody
        # else has its uid.
        prctl(PR_SET_DUMPABLE, 1)

    def order(self):
        """Waits for what the child is to run. Without an order it isn't needed."""
        text = b""
        while True:
            part = os.read(3, 65536)
            if not part:
                break
            text += part
        os.close(3)
        if not text:
            os._exit(0)
        return json.loads(text)

    def surroundings(self, order):
        env = order["env"]
        zone = os.environ.get("TZ")
        os.environ.clear()
        os.environ.update(env)
        if env.get("TZ") != zone:
            time.tzset()
        os.chdir(order["dir"])

    def interpreter(self, argv, shadows):
        file = argv[0]
        sys.argv = list(argv)
        if hasattr(sys, "orig_argv"):
            sys.orig_argv = COMMAND + argv
        if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
            sys.path.insert(0, os.path.dirname(os.path.realpath(file)))
        for name in shadows:
            sys.modules.pop(name, None)
        tempfile.tempdir = None
        numpy = sys.modules.get("numpy.random")
        if numpy:
            numpy.seed()  # Python's own random does it by itself
        main = type(sys)("__main__")
        main.__dict__.clear()
        main.__dict__.update(PLAIN, __file__=file, __doc__=None)
        main.__loader__ = type(PLAIN["__loader__"])("__main__", file)
        if "__annotations__" in PLAIN:
            main.__annotations__ = {}
        sys.modules.pop("__main__")
        sys.modules["__main__"] = main  # the last one: what comes after it is the script's

    def run(self):
        """Runs the script as a whole interpreter's life; doesn't return."""
        for warned in self.warned:
            warnings.warn_explicit(*warned)
        status = execute(self.code)
        sys.modules["__main__"].__dict__.pop("__file__", None)  # an interpreter does so before its end
        end(status)


def execute(code):
    """Runs code as __main__ and reports what leaves it. Returns the exit status,
    or minus the signal to die of."""
    try:
        exec(code, sys.modules["__main__"].__dict__)
        return 0
    except BaseException as error:
        caught = error
    if isinstance(caught, SystemExit):
        return exit_status(caught.code)
    report(caught.with_traceback(caught.__traceback__.tb_next))  # without this frame
    return -signal.SIGINT if type(caught) is KeyboardInterrupt else 1


def exit_status(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -1 << 63 <= code < 1 << 63 else 255
    try:
        print(code, file=sys.stderr)
    except Exception:
        pass  # there is no better place to say so
    return 1


def report(error):
    """Does what an interpreter does about an exception that nobody caught."""
    shown = type(error), error, error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = shown
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        return sys.excepthook(*shown)
    except BaseException as error:
        fault = error
    if isinstance(fault, SystemExit):
        end(exit_status(fault.code))
    trace = fault.__traceback__.tb_next
    print("Error in sys.excepthook:", file=sys.stderr)
    sys.__excepthook__(type(fault), fault.with_traceback(trace), trace)
    print("\nOriginal exception was:", file=sys.stderr)
    sys.__excepthook__(*shown)


def end(status):
    """Ends the process as an interpreter ends, but for one thing: what the parent
    has loaded is not taken apart. That would copy its memory, and takes longer
    than most scripts."""
    try:
        threading._shutdown()  # waits for threads that are no daemons
    except BaseException:
        pass
    try:
        atexit._run_exitfuncs()
    except BaseException:
        pass  # it has said so itself
    flushed = flush()
    take_apart()
    if not (flush() and flushed):
        status = 120
    libc.fflush(None)  # of libraries
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def flush():
    """Flushes both outputs, and tells whether that went well."""
    well = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException as error:
            well = False
            if stream is sys.stdout and sys.stderr is not None:
                print(f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}", file=sys.stderr)
    return well


def take_apart():
    """Lets go of the script's modules, so that finalizers run and files are
    written out."""
    sys.last_type = sys.last_value = sys.last_traceback = sys.last_exc = None
    gc.collect()
    names = []
    for name in reversed(sys.modules):  # to look at all of them would copy their memory
        names.insert(0, name)
        if name == "__main__":
            break
    alive = []
    for name in names:
        module = sys.modules.pop(name)
        try:
            alive.append(weakref.ref(module))
        except TypeError:
            pass  # no module
        del module
    gc.collect()
    for ref in reversed(alive):
        held = getattr(ref(), "__dict__", {})
        for name in sorted(held, key=lambda name: not name.startswith("_")):
            if name != "__builtins__":
                held[name] = None


def warm():
    """Does all that comes before the first fork; returns who serves."""
    names = json.loads(os.environ.pop("ATTUNE_PRELOAD", "[]"))
    control = socket.socket(fileno=3)
    os.set_inheritable(3, False)
    for fd in descriptors():
        if fd > 3:
            os.close(fd)  # whatever the agent was started with
    piped_streams()
    preload = Preload()
    preload.run(names)
    prctl(PR_SET_DUMPABLE, 0)
    parent = Parent(control)
    WARM.update((name, module) for name, module in sys.modules.items()
                if name not in BOOT and name != "__main__")
    gc.collect()
    gc.freeze()
    parent.say(ready=True, forks=preload.forks, notices=preload.notices[:64])
    return parent


with open("/proc/self/cmdline", "rb") as cmdline:
    COMMAND = os.fsdecode(cmdline.read()).split("\0")[:-1 - len(sys.argv)]  # the interpreter and its flags

if __name__ == "__main__":
    warm().serve().run()
