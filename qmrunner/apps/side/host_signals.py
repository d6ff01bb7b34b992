"""Signals that the app host sends: a message was scheduled, or came from the schedule to the queue.

Their handlers run in a fork of the host: a connection that a handler opened in the host itself would be shared by all
tasks that are forked from it afterwards. Under Huey the process of the scheduler runs them.
"""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable
from typing import Any

from qmrunner.apps.side import background, inheritance, isolation
from qmrunner.guardian import process_tree

_WAIT_MS = 5000  # for the handlers: a task finds what they wrote before it began


class HostSignals:
    """`fork_for` runs a function in a fork of the host, and returns its pid."""

    def __init__(self, huey: Any, isolated: str, fork_for: Callable[[Callable[[], None]], int]) -> None:
        self._huey = huey
        # With `exec` tasks inherit nothing, and handlers may need a thread that only the host has.
        self._in_host = isolated == isolation.EXEC
        self._fork_for = fork_for

    def send(self, signal: str | None, messages: list[bytes]) -> None:
        """Wait for the handlers, but for a few seconds only. None: this Huey has no such signal."""
        receivers = self._huey._signal.receivers
        if signal is None or not messages or not (receivers.get(signal) or receivers.get("any")):
            return
        if self._in_host:
            self._run_handlers(signal, messages)
            return
        pid = self._fork_for(lambda: self._run_apart(signal, messages))
        try:
            ended = os.pidfd_open(pid)
        except OSError:
            return  # it has ended
        try:
            poller = select.poll()
            poller.register(ended, select.POLLIN)
            poller.poll(_WAIT_MS)
        finally:
            os.close(ended)

    def _run_apart(self, signal: str, messages: list[bytes]) -> None:
        process_tree.name_process(process_tree.SIGNALS_NAME)
        inheritance.restore()
        self._run_handlers(signal, messages)
        background.finish()

    def _run_handlers(self, signal: str, messages: list[bytes]) -> None:
        for data in messages:
            try:
                self._huey._emit(signal, self._huey.deserialize_task(data))
            except Exception:  # an unknown task: its own run reports it
                traceback.print_exc()
