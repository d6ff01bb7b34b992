"""Removes logs and results of old jobs, by the retention settings. Rows and events stay."""

from __future__ import annotations

import os
from pathlib import Path

from qmrunner.host.remove_tree import remove_tree
from qmrunner.maintenance.base import Action, Context
from qmrunner.store import attempts as attempt_store

NAME = "retention"
_DAY_S = 86400.0


def plan(context: Context) -> list[Action]:
    s = context.app.settings
    actions = []
    for root, days, what in (
        (s.logs_root, s.log_retention_days, "logs"),
        (s.jobs_root, s.result_retention_days, "results"),
    ):
        if days is None or not root.is_dir():
            continue
        with context.app.store.read() as connection:
            old = attempt_store.ended_jobs(connection, context.now - days * _DAY_S)
        reason = f"{what} of a job that ended more than {days:g} days ago"
        actions += [
            Action(NAME, "remove", str(root / name), reason) for name in sorted(os.listdir(root)) if name in old
        ]
    return actions


def apply(context: Context, action: Action) -> str | None:
    path = Path(action.target)
    return "; ".join(remove_tree(path, path.parent)[:5]) or None
