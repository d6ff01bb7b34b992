"""Removes what is kept of succeeded tasks of Huey applications: rows, events and logs.

An application may have a hundred thousand tasks a day. Failed, cancelled and held ones stay, and all jobs of users.
"""

from __future__ import annotations

from qmrunner.host.remove_tree import remove_tree
from qmrunner.maintenance.base import Action, Context
from qmrunner.store import huey_jobs

NAME = "tasks"
MOST = 20_000  # newest ones that stay, however young the others are
_AT_ONCE = 500  # jobs of one transaction: others wait for it on SQLite
_PER_SWEEP = 20
_DAY_S = 86400.0


def plan(context: Context) -> list[Action]:
    days = context.app.settings.task_retention_days
    with context.app.store.read() as connection:
        old = huey_jobs.old_successes(connection, context.now - days * _DAY_S, MOST, _AT_ONCE * _PER_SWEEP)
    reason = f"tasks that succeeded more than {days:g} days ago, or before {MOST} newer ones"
    return [
        Action(NAME, "forget", " ".join(part), reason, {"jobs": len(part)})
        for start in range(0, len(old), _AT_ONCE)
        if (part := old[start : start + _AT_ONCE])
    ]


def apply(context: Context, action: Action) -> str | None:
    app, job_ids = context.app, action.target.split()
    left = []
    for job_id in job_ids:
        left += remove_tree(app.settings.logs_root / job_id, app.settings.logs_root)
        left += remove_tree(app.settings.scratch_root / job_id, app.settings.scratch_root)
    with app.store.write() as connection:
        huey_jobs.forget(connection, job_ids)
    return "; ".join(left[:5]) or None
