"""The app host of an application that runs its consumer beside something else: in a thread, or with `Consumer.start`.

The host is then a fork of that process: it owns its children and its signals, which a thread cannot.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from huey.consumer import Consumer

from qmrunner.apps.side import inheritance, sharing

_hosts: dict[int, int] = {}  # the pid of the host of each consumer


def replace_methods(serve: Callable[[Consumer], None], taken: list[Consumer]) -> None:
    """From now on a started consumer is served by a fork that runs `serve`; it has no workers whose health to check."""
    stop = Consumer.stop

    def start(consumer: Any) -> None:
        taken.append(consumer)
        _hosts[id(consumer)] = _fork(consumer, serve)

    def stop_host(consumer: Any, *args: Any, **named: Any) -> None:
        pid = _hosts.pop(id(consumer), None)
        if pid is None:
            stop(consumer, *args, **named)
            return
        consumer.stop_flag.set()
        os.kill(pid, signal.SIGTERM)
        _wait(pid)

    Consumer.start = start
    Consumer.stop = stop_host
    Consumer.check_worker_health = lambda consumer: True


def run(consumer: Consumer, serve: Callable[[Consumer], None]) -> None:
    """`Consumer.run` in a thread: returns when the host has ended."""
    _hosts[id(consumer)] = pid = _fork(consumer, serve)
    _wait(pid)
    _hosts.pop(id(consumer), None)


def _wait(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # another thread has waited for it


def _fork(consumer: Consumer, serve: Callable[[Consumer], None]) -> int:
    me = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _let_go_of_servers()
        serve(consumer)
        # The supervisor has ended the host: the process beside it belongs to the same command.
        if os.getppid() == me:
            os.kill(me, signal.SIGTERM)
    except SystemExit as end:
        print(end, file=sys.stderr, flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _let_go_of_servers() -> None:
    """Keep no port busy. The numbers stay open, so that no object of the application closes another file."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in inheritance.descriptors():
        if sharing.is_listening(number) and not sharing.is_local(number):
            os.dup2(null, number, inheritable=False)
    os.close(null)
