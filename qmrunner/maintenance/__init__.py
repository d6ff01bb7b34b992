"""The sweeps: one per file, each with a read-only `plan` and an `apply` that performs one planned action.

They run at start and on a schedule in the supervisor, and by hand as `qmrunner sweep [--dry-run]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qmrunner.maintenance import artifacts, processes, retention, scratch, shm, staged_results, tasks
from qmrunner.maintenance.base import Action, Context


class Pass(Protocol):
    """The interface of every sweep module."""

    NAME: str

    def plan(self, context: Context) -> list[Action]: ...

    def apply(self, context: Context, action: Action) -> str | None: ...


PASSES: Sequence[Pass] = (processes, scratch, shm, staged_results, retention, tasks, artifacts)


def plan_all(context: Context) -> list[Action]:
    """All actions that a sweep would perform now, in order."""
    return [action for sweep in PASSES for action in sweep.plan(context)]


def apply_all(context: Context, actions: Sequence[Action]) -> list[tuple[Action, str | None]]:
    """Perform the actions. Returns each with its error, or None."""
    modules = {sweep.NAME: sweep for sweep in PASSES}
    return [(action, modules[action.sweep].apply(context, action)) for action in actions]
