"""Refuses a SQLite store shared by machines: its write-ahead log uses memory that two kernels cannot share."""

from __future__ import annotations

import time
from typing import Any

from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.guardian import process_tree
from qmrunner.store import workers

_POLL_S = 0.1
_BEATS = 3.0


def refuse_other_machines(app: App) -> None:
    """Raises NotReadyError when a worker on another machine writes heartbeats to this SQLite store.

    A row left by an earlier boot does not count: its heartbeat does not advance. Watches fresh rows for three beats.
    """
    if not app.store.is_sqlite:
        return
    before = {row["id"]: row["beat"] for row in _elsewhere(app) if _is_fresh(app, row)}
    end = time.monotonic() + _BEATS * app.settings.heartbeat_seconds
    while before and time.monotonic() < end:
        time.sleep(_POLL_S)
        for row in _elsewhere(app):
            if row["id"] in before and row["beat"] != before[row["id"]]:
                raise NotReadyError(
                    "store_shared",
                    f"a worker on another machine uses the SQLite store {app.store.path}",
                    evidence=f"worker {row['id']} ({row['name']}) on {row['host']} has just written a heartbeat",
                    remedy="several machines need PostgreSQL: stop both, then `qmrunner db copy --to URL`",
                )


def _elsewhere(app: App) -> list[dict[str, Any]]:
    with app.store.read() as connection:
        return [row for row in workers.all_workers(connection) if row["boot_id"] != process_tree.boot_id()]


def _is_fresh(app: App, row: dict[str, Any]) -> bool:
    # The other machine's clock may be wrong: treat a time in the future as now.
    return bool(app.store.now() - row["beat_at"] < 2 * app.settings.lease_seconds)
