import threading, time


def work(n):
    time.sleep(0.1 * n)
    print("thread", n)


for n in range(1, 3):
    threading.Thread(target=work, args=(n,)).start()
print("main is done", threading.main_thread().name, threading.active_count())
