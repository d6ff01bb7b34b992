"""The files of one task in its attempt's folder. All are JSON, so that no process but the application's unpickles.

task.json   what to run, written before the start
revoked     Huey's storage has forgotten that the task was revoked
begun       the body has begun
stopped     written by the consumer before it stops a task
cancelled   written by the consumer before it stops a task for good
locks       keys and values of Huey's locks that the task asked for, one a line
outcome     what the body returned or raised, written before the epilogue
conclude    written by the consumer once the store has confirmed that this attempt may conclude; with `fence` only
done.json   how the task ended, and what its epilogue sends
committed   written by the consumer: the end is in the store, and a later attempt starts from the beginning
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

TASK, REVOKED, BEGUN, STOPPED, CANCELLED, LOCKS = "task.json", "revoked", "begun", "stopped", "cancelled", "locks"
OUTCOME, DONE, COMMITTED, CONCLUDE = "outcome", "done.json", "committed", "conclude"


_LOOK_S = 0.01


def write(folder: str, name: str, value: Any, *, durable: bool = True) -> None:
    """Write a file atomically; with `durable` it also survives a power failure."""
    path = os.path.join(folder, name)
    with open(f"{path}.new", "w", opener=private) as file:
        file.write(json.dumps(value))  # `dumps` uses the C encoder
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.rename(f"{path}.new", path)
    if not durable:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private(path: str, flags: int) -> int:
    """Open a file that no other user writes: an application's umask may allow it, and its folder may be a group's."""
    return os.open(path, flags, 0o600)


def conclude(folder: str, outcome: dict[str, Any], fence: bool) -> None:
    """Write the outcome. With `fence`, wait until the store confirms that no other attempt has taken the place of this
    one: a worker that was frozen past its lease must not send signals and results."""
    write(folder, OUTCOME, outcome)
    while fence and not os.path.exists(os.path.join(folder, CONCLUDE)):
        time.sleep(_LOOK_S)


def load(folder: str, name: str) -> Any:
    """The content of one of the files; None when there is none."""
    try:
        with open(os.path.join(folder, name)) as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read(folder: str) -> dict[str, Any]:
    """How the task ended. Raises FileNotFoundError."""
    with open(os.path.join(folder, DONE)) as file:
        end: dict[str, Any] = json.load(file)
    return end
