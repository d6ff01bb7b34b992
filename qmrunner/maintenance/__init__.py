"""The sweeps: one per file, each a plan that only looks and an apply that does one planned thing.

They run at start and on a schedule in the supervisor, and by hand as `qmrunner sweep [--dry-run]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qmrunner.maintenance import artifacts, processes, retention, scratch, shm, staged_results
from qmrunner.maintenance.base import Action, Context


class Pass(Protocol):
    """What every sweep's module offers."""

    NAME: str

    def plan(self, context: Context) -> list[Action]: ...

    def apply(self, context: Context, action: Action) -> str | None: ...


PASSES: Sequence[Pass] = (processes, scratch, shm, staged_results, retention, artifacts)


def plan_all(context: Context) -> list[Action]:
    """Everything a sweep would do now, in the order in which it would do it."""
    return [action for one in PASSES for action in one.plan(context)]


def apply_all(context: Context, actions: Sequence[Action]) -> list[tuple[Action, str | None]]:
    """Do it. Each action with what kept it from being done, or None."""
    modules = {one.NAME: one for one in PASSES}
    return [(action, modules[action.sweep].apply(context, action)) for action in actions]
