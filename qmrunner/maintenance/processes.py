"""Ends processes that carry the marker of an ended attempt: their guardian was killed, or they were fenced.

Not those that a task left behind on purpose, which their guardian fosters.
"""

from __future__ import annotations

import signal

from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.maintenance.base import Action, Context
from qmrunner.store import attempts as attempt_store

NAME = "processes"


def plan(context: Context) -> list[Action]:
    """KILL each marked process whose attempt has ended according to this store."""
    found = process_tree.marked()
    if not found:
        return []
    with context.app.store.read() as connection:
        over = attempt_store.ended_markers(connection, set(found.values()))
    boot, namespace = process_tree.boot_id(), process_tree.pid_namespace()
    actions = []
    for pid, marker in sorted(found.items()):
        stat = process_tree.stat_of(pid)
        if marker not in over or stat is None or stat.state in "ZX" or process_tree.is_fostered(pid):
            continue
        identity = Identity(boot, namespace, pid, stat.start_ticks)
        reason = f"attempt {marker} has ended, {stat.comm} lives"
        actions.append(Action(NAME, "kill", str(pid), reason, identity.as_dict()))
    return actions


def apply(context: Context, action: Action) -> str | None:
    process_tree.send(Identity.from_dict(action.detail), signal.SIGKILL)
    return None
