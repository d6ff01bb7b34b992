"""The JSON of one worker: what runs on it, what it uses, and its last day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.app import App
from qmrunner.errors import NotFoundError
from qmrunner.reports.interrupted import RUNNING, beats
from qmrunner.reports.status import iso, with_time_left, worker_row
from qmrunner.store import examinations, reservations, worker_history, workers
from qmrunner.store.examinations import RESULTS
from qmrunner.store.rows import moment

_DAY_S = 86400.0
_SIZES = ("memory_mib", "scratch_mib", "shm_mib")


def view(app: App, worker_id: int) -> dict[str, Any]:
    """A worker, also one that has ended. Raises NotFoundError `worker_unknown`.

    ``used`` sums what its live attempts use now (MiB; None where nothing was measured yet), ``running`` lists them,
    ``day`` has its core hours, attempts by outcome, and consumer restarts of the last 24 hours.
    ``examined`` counts what `doctor` found on its machine (None: not examined yet); `checks` has the findings.
    """
    with app.store.read() as connection:
        now = app.store.now()
        everyone = workers.all_workers(connection, ended=True)
        row = next((row for row in everyone if row["id"] == worker_id), None)
        if row is None:
            raise unknown(worker_id)
        held = reservations.by_worker(connection).get(worker_id)
        live = workers.live_attempts(connection, [worker_id])
        day = worker_history.since(connection, worker_id, now - _DAY_S, now)
        counted = examinations.counts(connection).get(worker_id)
    return {
        **worker_row(app, row, held, [row for row in everyone if row["state"] in RUNNING and beats(app, row, now)]),
        "used": {name: _sum(live, name) for name in _SIZES},
        "running": [_running(attempt, now) for attempt in live],
        "day": day,
        "examined": None if counted is None else {**counted, "at": iso(moment(counted["at"]))},
    }


def checks(app: App, worker_id: int) -> dict[str, Any]:
    """What `doctor` last found on the machine of a worker. Raises NotFoundError `worker_unknown`, `not_examined`."""
    with app.store.read() as connection:
        if all(row["id"] != worker_id for row in workers.all_workers(connection, ended=True)):
            raise unknown(worker_id)
        found = examinations.of_worker(connection, worker_id)
    if found is None:
        raise NotFoundError(
            "not_examined", f"worker {worker_id} has not examined its machine yet",
            remedy="it does so a minute after its start; `qmrunner doctor` prints the same there",
        )  # fmt: skip
    at, rows = found
    results = [row["result"] for row in rows]
    return {
        "at": iso(moment(at)), "checks": rows,
        "summary": {word: results.count(word) for word in RESULTS},
    }  # fmt: skip


def worst_first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Findings in the order fail, warn, ok."""
    return sorted(rows, key=lambda row: RESULTS.index(row["result"]), reverse=True)


def unknown(worker_id: object) -> NotFoundError:
    return NotFoundError("worker_unknown", f"there is no worker {worker_id}", remedy="/v1/workers lists them")


def _sum(live: list[dict[str, Any]], name: str) -> float | None:
    known = [attempt["usage"][name] for attempt in live if attempt["usage"].get(name) is not None]
    return round(sum(known), 1) if known else None


def _running(attempt: Mapping[str, Any], now: float) -> dict[str, Any]:
    started = attempt["started_at"]
    return {
        "job": attempt["job_id"],
        "step": attempt["step_name"],
        "attempt": attempt["number"],
        "state": attempt["state"],
        "reserved": attempt["granted"],
        "usage": attempt["usage"],
        "progress": with_time_left(attempt["progress"], now),
        "elapsed_s": None if started is None else round(max(0.0, now - started), 1),
    }
