"""Huey's judgement before a body: revoked, expired, cancelled by a hook. It is made once, not by each attempt."""

from __future__ import annotations

import os
from typing import Any

from huey.exceptions import CancelExecution

from qmrunner.apps.side import done


class Judgement:
    """Takes the place of parts of Huey in the process of one task; `earlier` are the folders of its attempts before."""

    def __init__(self, huey: Any, task: Any, folder: str, earlier: list[str]) -> None:
        self._huey = huey
        self._task = task
        self._folder = folder
        self._earlier = earlier
        self._expires = getattr(task, "expires_resolved", None)  # not before Huey 2.3

    def once(self) -> None:
        """Let no kill lose a revocation: Huey forgets one that holds for one run before it sends the signal."""
        judge, mine = self._huey.is_revoked, self._task

        def is_revoked(task: Any, timestamp: Any = None, peek: bool = True) -> Any:
            if peek or task is not mine:
                return judge(task, timestamp, peek)
            was = any(os.path.exists(os.path.join(folder, done.REVOKED)) for folder in self._earlier)
            if was or judge(task, timestamp, True):
                done.write(self._folder, done.REVOKED, {})
                judge(task, timestamp, False)
                return True
            return judge(task, timestamp, False)

        self._huey.is_revoked = is_revoked

    def has_begun(self) -> None:
        """The body began in an earlier attempt: what would have refused it before comes too late."""
        judge, run_hooks, mine = self._huey.is_revoked, self._huey._run_pre_execute, self._task

        def is_revoked(task: Any, timestamp: Any = None, peek: bool = True) -> Any:
            return False if task is mine and not peek else judge(task, timestamp, peek)

        def run_pre_execute(task: Any) -> None:
            try:
                run_hooks(task)
            except CancelExecution:
                pass  # Huey has logged it; the hooks after it prepared the attempt before

        self._huey.is_revoked, self._huey._run_pre_execute = is_revoked, run_pre_execute
        self._task.expires_resolved = None

    def restore(self) -> None:
        """Give back what a retry must keep."""
        self._task.expires_resolved = self._expires
