"""What handlers do, by the parameter "do"."""
import os
import sys
import threading
import time

seen = []


def main(params, context):
    do = params["do"]
    if do == "look":
        seen.append(context.execution_id)
        print("out")
        print("err", file=sys.stderr)
        os.write(1, b"raw\n")
        return {"pid": os.getpid(), "uid": os.getuid(), "secrets": dict(context.secrets), "seen": len(seen), "remaining": context.remaining() > 1,
                "scratch": os.listdir(os.environ["HOME"])}
    if do == "raise":
        raise ValueError("no good")
    if do == "text":
        return "täxt"
    if do == "items":
        return (n for n in range(3))
    if do == "large":
        return "x" * params["size"]
    if do == "die":
        os._exit(3)
    if do == "sleep":
        print("sleeping")
        time.sleep(1000)
    if do == "flood":
        for _ in range(params["size"] // 65536):
            sys.stdout.write("x" * 65536)
        return "done"
    if do == "leave":
        with open(os.environ["HOME"] + "/left", "w"):
            pass
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        return "left"
    if do == "thread":
        def speak():
            while True:
                print("between")
                time.sleep(0.001)
        threading.Thread(target=speak, daemon=True).start()
        return "started"
