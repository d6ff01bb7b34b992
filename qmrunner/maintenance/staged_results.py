"""Removes staged results that were never published: their attempt was fenced while the store did not answer."""

from __future__ import annotations

from pathlib import Path

from qmrunner.attempt.publish import staging
from qmrunner.host.remove_tree import remove_tree
from qmrunner.maintenance.base import Action, Context
from qmrunner.store import attempts as attempt_store

NAME = "publications"
# The worker that staged them may have been disconnected for long.
_DAYS = 30.0


def plan(context: Context) -> list[Action]:
    root = context.app.settings.jobs_root
    with context.app.store.read() as connection:
        unpublished = attempt_store.unpublished(connection, context.now - _DAYS * 86400.0)
    paths = [staging(root / job, step, number) for job, step, number in unpublished]
    reason = "its attempt had lost the step before it could be published"
    return [Action(NAME, "remove", str(path), reason) for path in paths if path.is_dir() and not path.is_symlink()]


def apply(context: Context, action: Action) -> str | None:
    return "; ".join(remove_tree(Path(action.target), context.app.settings.jobs_root)[:5]) or None
