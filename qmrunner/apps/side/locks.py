"""Locks of Huey with owners: the attempt that took one is its value, so that what a dead attempt left is recognised.

An application may have a separate class of locks, with other values (the time, by which it lets them expire): those
values stay, and the attempt notes them.
A task may lock with any Huey object of its application, not only with the one that runs it. `flush_locks`, `clear` and
the consumer's `-f`, at the application's start, leave locks alone that a living attempt may hold: attempts outlive a
restart of the app host.
"""

from __future__ import annotations

import json
import os
from typing import Any

from huey.api import Huey, TaskLock

from qmrunner.apps.side import done, sharing

_PLAIN = "1"  # the value of a lock that a task of a plain consumer took
_OF_LOCKS = ".lock."
_owner: tuple[str, str] | None = None  # folder and marker of the attempt that this process runs
_own_values: set[Any] = set()  # locks that this process holds and that have another value than the marker
_put_if_empty, _delete, _flush_locks = Huey.put_if_empty, Huey.delete, Huey.flush_locks


def give_owners() -> None:
    """From now on locks that this process takes belong to the attempt that it runs."""
    Huey.put_if_empty, Huey.delete = _put_lock, _delete_lock
    Huey.flush_locks = _flush_plain
    TaskLock.clear = TaskLock.release = _clear_plain


def own(folder: str, marker: str) -> None:
    """This process runs an attempt now."""
    global _owner
    give_owners()
    _owner = folder, marker


def disown() -> None:
    global _owner
    _owner = None
    _own_values.clear()


def flush(consumer: Any, *names: str) -> None:
    """What the consumer's `-f` asks for."""
    flushed = consumer.huey.flush_locks(*names)
    if flushed:
        consumer._logger.warning("Found stale locks: %s", ", ".join(sorted(flushed)))


def release(huey: Any, folder: str, marker: str) -> None:
    """Delete the locks that an attempt noted in `folder` and still holds, by their value."""
    try:
        with open(os.path.join(folder, done.LOCKS)) as file:
            noted = dict(_read(line, marker) for line in file if line.endswith("\n"))
    except (FileNotFoundError, NotADirectoryError):
        return
    for queue in [huey, *(other for other in sharing.hueys() if other is not huey)]:
        for key, value in noted.items():
            if value is not None and _is_lock(queue, key) and _value(queue, key) == value:
                queue.storage.delete_data(key)


def _put_lock(huey: Any, key: Any, data: Any, *more: Any, **named: Any) -> Any:
    if _owner is None or not _is_lock(huey, key):
        return _put_if_empty(huey, key, data, *more, **named)
    if data == _PLAIN or not isinstance(data, (str, int, float)):
        _note(key, _owner[1])
        return _put_if_empty(huey, key, _owner[1], *more, **named)
    _note(key, data)
    taken = _put_if_empty(huey, key, data, *more, **named)
    if taken:
        _own_values.add(key)
    elif key not in _own_values:
        _note(key, None)  # of another attempt, and perhaps with the same value
    return taken


def _delete_lock(huey: Any, key: Any) -> Any:
    found = _delete(huey, key)
    if _owner is not None and key in _own_values:
        _own_values.discard(key)
        _note(key, None)
    return found


def _note(key: Any, value: Any) -> None:
    """Write down which value this attempt's lock has from now on; None: no lock of it."""
    assert _owner is not None
    with open(os.path.join(_owner[0], done.LOCKS), "a", opener=done.private) as file:
        file.write(f"{json.dumps([str(key), value])}\n")


def _read(line: str, marker: str) -> tuple[str, Any]:
    if not line.startswith("["):  # written by version 0.3
        return line[:-1], marker
    key, value = json.loads(line)
    return key, value


def _flush_plain(huey: Any, *names: str) -> Any:
    if _owner is not None:
        return _flush_locks(huey, *names)
    keys = {*huey._locks, *(f"{huey.name}{_OF_LOCKS}{name.strip()}" for name in names)}
    return {key.partition(_OF_LOCKS)[2] for key in keys if _is_plain(huey, key) and huey.delete(key)}


def _clear_plain(lock: Any) -> Any:
    if _owner is None and not _is_plain(lock._huey, lock._key):
        return False
    return lock._huey.delete(lock._key)


def _is_lock(huey: Any, key: Any) -> bool:
    return str(key).startswith(f"{huey.name}{_OF_LOCKS}")


def _is_plain(huey: Any, key: str) -> bool:
    return bool(_value(huey, key) == _PLAIN)


def _value(huey: Any, key: str) -> Any:
    """None where there is none. Not compared as bytes: a serializer that encrypts gives others each time."""
    try:
        return huey.get(key, peek=True)
    except Exception:  # another program's, under the same name
        return None
