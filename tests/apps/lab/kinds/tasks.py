import atexit
import logging.handlers
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy.random

from kinds.queue import huey

CASES = []


def case(function):
    found = huey.task()(function)
    CASES.append(found)
    return found


@case
def folder():
    return os.path.basename(os.getcwd())


@case
def mask():
    before = os.umask(0)
    os.umask(before)
    return before


@case
def environment():
    hooked = "hook" in os.environ.get("PYTHONPATH", "")
    return os.environ.get("FROM_IMPORT"), hooked, "QMRUNNER_HOME" in os.environ


@case
def command():
    return os.path.basename(sys.argv[0]), sys.argv[1:], sys.modules["__main__"].__name__


@case
def command_line():
    """What other programs look for."""
    with open("/proc/self/cmdline") as file:
        return file.read().split("\0")[-8:], getattr(sys, "orig_argv", [])


@case
def handler():
    os.kill(os.getpid(), signal.SIGUSR1)
    return callable(signal.getsignal(signal.SIGUSR1))


@case
def broken_pipe():
    into = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    into.wait()
    try:
        os.write(into.stdin.fileno(), b"nobody reads this")
    except BrokenPipeError:
        return "BrokenPipeError"


@case
def communicates():
    return subprocess.run(["true"], input=b"more than a pipe holds" * 10000).returncode


@case
def forked_twin():
    """A process that the body forked comes out of it, too."""
    pid = os.fork()
    if pid == 0:
        return "twin"
    return os.waitpid(pid, 0)[1] >= 0


@case
def leaves_output_open():
    sys.stdout.write("x" * 1_000_000 + "\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(bytes(range(256)))
    return "printed"


@huey.task()
def size(data):
    return len(data)


@huey.task()
def interrupted_child():
    """In Huey's process mode the child ignores this signal; with threads it does not."""
    child = subprocess.Popen(["sleep", "20"])
    child.send_signal(signal.SIGINT)
    return child.wait()


@huey.task()
def draws():
    return random.random(), float(numpy.random.random())


@huey.task()
def processes():
    """Not possible in Huey's daemonic processes."""
    with ProcessPoolExecutor(1) as pool, multiprocessing.get_context("spawn").Pool(1) as spawned:
        return list(pool.map(abs, [-1])) + spawned.map(abs, [-2])


@huey.task()
def descriptors():
    links = [f"/proc/self/fd/{number}" for number in range(200)]
    return [os.readlink(link) for link in links if os.path.lexists(link)]


@huey.task()
def reports_late():
    log = logging.getLogger("late")
    target = logging.FileHandler("late.log")
    log.addHandler(logging.handlers.MemoryHandler(1000, flushLevel=100, target=target))
    log.error("in memory")
    atexit.register(lambda: open("late.exit", "w").close())
    return True  # Huey keeps no result that is None
