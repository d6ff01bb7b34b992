"""A SQLite store is for one machine: its write-ahead log lives in memory that two kernels do not share."""

from __future__ import annotations

import time
from typing import Any

from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.guardian import process_tree
from qmrunner.store import workers

_LOOK_EVERY_S = 0.1
_BEATS = 3.0


def refuse_other_machines(app: App) -> None:
    """Raises NotReadyError when a worker of another machine beats in this SQLite store, whatever disk it is on.

    A row that another boot left is no such worker: its beat stands still. Only a fresh one is watched, for three beats.
    """
    if not app.store.is_sqlite:
        return
    before = {row["id"]: row["beat"] for row in _elsewhere(app) if _is_fresh(app, row)}
    end = time.monotonic() + _BEATS * app.settings.heartbeat_seconds
    while before and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
        for row in _elsewhere(app):
            if row["id"] in before and row["beat"] != before[row["id"]]:
                raise NotReadyError(
                    "store_shared",
                    f"a worker on another machine uses the SQLite store {app.store.path}",
                    evidence=f"worker {row['id']} ({row['name']}) on {row['host']} has just beaten",
                    remedy="several machines need PostgreSQL: stop both, then `qmrunner db copy --to URL`",
                )


def _elsewhere(app: App) -> list[dict[str, Any]]:
    with app.store.read() as connection:
        return [row for row in workers.all_workers(connection) if row["boot_id"] != process_tree.boot_id()]


def _is_fresh(app: App, row: dict[str, Any]) -> bool:
    # The other machine's clock may be anywhere: what lies ahead is as good as now.
    return bool(app.store.now() - row["beat_at"] < 2 * app.settings.lease_seconds)
