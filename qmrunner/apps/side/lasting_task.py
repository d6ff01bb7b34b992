"""The lasting process of isolation `worker`: one task after the other, with what the application has loaded.

Startup and shutdown hooks run in it, as in a worker process of Huey. It ends after a stop: what the interrupted body
was about to change is unknown.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from typing import Any

from qmrunner.apps.side import hooks, inheritance, locks
from qmrunner.apps.side.task import TaskRun
from qmrunner.guardian import process_tree
from qmrunner.guardian.process import Order

# What one task replaces, in Huey and in its storage.
_OF_HUEY = ("_emit", "_check_chord", "is_revoked", "_run_pre_execute", "_timeout_handler")
_OF_STORAGE = ("enqueue", "add_to_schedule")
_LONGEST_ORDER = 1 << 18


def serve(huey: Any, orders: socket.socket) -> None:
    """Run tasks until the guardian closes the socket. Ends the process."""
    process_tree.name_process(process_tree.TASK_NAME)
    inheritance.restore()
    hooks.run(huey._startup)
    while True:
        data, passed, _, _ = socket.recv_fds(orders, _LONGEST_ORDER, 1)
        if not data:
            break
        order = Order(**json.loads(data))
        _write_to(passed[0])
        inheritance.enter_folder()
        status, stopped = _run(huey, order)
        _write_to(os.open("/dev/null", os.O_WRONLY))
        orders.send(json.dumps({"status": status}).encode())
        if stopped:
            os._exit(status)
    hooks.run(huey._shutdown)
    os._exit(0)


def _write_to(descriptor: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # closed by the application, or a full disk
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)


def _run(huey: Any, order: Order) -> tuple[int, bool]:
    """The status with which a process of the task's own would end, and whether a stop reached it."""
    replaced = [(huey, _OF_HUEY, _of(huey, _OF_HUEY)), (huey.storage, _OF_STORAGE, _of(huey.storage, _OF_STORAGE))]
    variables = {name: os.environ.get(name) for name in order.env}
    status, task = 1, None
    try:
        task = TaskRun(huey, order, lasting=True)
        status = task.run()
    except BaseException:
        traceback.print_exc()
    finally:
        locks.disown()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for thing, names, before in replaced:
        for name in names:
            vars(thing).pop(name, None)
        vars(thing).update(before)
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    tempfile.tempdir = None
    return status, task is not None and task.stopped


def _of(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: vars(thing)[name] for name in names if name in vars(thing)}
