"""Hooks of an application, and the flush of its locks at the start of its consumer."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from huey.consumer import Consumer

_PLAIN_LOCK = "1"  # the value of a lock that a plain consumer's task took


def flush_locks(consumer: Consumer, *names: str) -> None:
    """What `-f` asks for, but for locks of tasks under qmrunner: those of dead attempts are released by the next one,
    and living attempts outlive a restart of this process."""
    huey = consumer.huey
    for key in {*huey._locks, *(f"{huey.name}.lock.{name}" for name in names)}:
        if huey.get(key, peek=True) == _PLAIN_LOCK:
            huey.delete(key)


def run(hooks: dict[str, Any]) -> None:
    for name, hook in hooks.items():
        try:
            hook()
        except Exception:
            print(f"qmrunner: the hook {name!r} failed", file=sys.stderr)
            traceback.print_exc()
