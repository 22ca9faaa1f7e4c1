import sys
for s in (sys.stdin, sys.stdout, sys.stderr):
    b = s.buffer
    print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.isatty(), s.fileno(), s.seekable(), s.newlines,
          type(b).__name__, b.mode, b.name, getattr(b, "raw", b).closefd, s is getattr(sys, "__%s__" % s.name[1:-1]))
print(sys.stdin.readline())
print(repr(sys.stdin.read()))
