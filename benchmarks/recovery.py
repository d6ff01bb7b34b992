"""How fast qmrunner notices a death and makes it durable, and how fast a killed machine's work resumes.

    python benchmarks/recovery.py [--kills 30] [--rows 1000] [--silences 3] [--json]

Every death is a real SIGKILL of a real process of a real daemon at its default beat and lease; the clock runs from the
signal to the committed row that records it, read from the store every 2 ms. Aims: p50 at most 0.2 s, p99 at most 1 s;
after a kill of everything 1,000 running rows judged within 5 s, and the first of them running again within 10 s; a
worker that falls silent (all its daemon frozen) is called lost by another one of the store within 25 s.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sqlalchemy import func, select  # noqa: E402  # the checkout must be on the path first

from qmrunner.app import App  # noqa: E402
from qmrunner.attempt import directory  # noqa: E402
from qmrunner.guardian import process_tree  # noqa: E402
from qmrunner.model.jobs import Submission  # noqa: E402
from qmrunner.model.packing import Capacity  # noqa: E402
from qmrunner.store import claims, workers  # noqa: E402
from qmrunner.store import jobs as job_store  # noqa: E402
from qmrunner.store.advance import accept  # noqa: E402
from qmrunner.store.tables import attempts, steps  # noqa: E402
from tests.support import Daemon, Home, ended_daemons, wait_for  # noqa: E402

WATER = "3\nwater\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n"
DEFAULTS = {"QMRUNNER_HEARTBEAT_SECONDS": "", "QMRUNNER_LEASE_SECONDS": "", "QMRUNNER_ADOPTION_SECONDS": ""}
LATE = {"QMRUNNER_XTB": str(ROOT / "tests/stand_ins/late_xtb.sh"), "STAND_IN_SECONDS": "600"}
LOOK_EVERY_S = 0.002


def until(condition: Callable[[], Any], deadline_s: float = 60.0) -> float:
    """Seconds until it is true, looking every 2 ms."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > deadline_s:
            raise SystemExit("a death was not noticed within the deadline")
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - start


class Watched:
    """A daemon with one long job, and a look at its rows."""

    def __init__(self, home: Home, daemon: Daemon) -> None:
        self.home, self.daemon = home, daemon
        structure = home.path.parent / "water.xyz"
        structure.write_text(WATER)
        self.job = home.json("submit", "xtb", str(structure))["id"]
        self.app = App(home.settings)

    def row(self) -> Any:
        with self.app.store.read() as connection:
            query = (
                select(attempts)
                .join(steps, (steps.c.id == attempts.c.step_id) & (steps.c.attempt == attempts.c.number))
                .where(steps.c.job_id == self.job)
            )
            return connection.execute(query).first()

    def running(self) -> Any:
        row = self.row()
        return row if row is not None and row.state == "running" else None

    def ended(self, number: int) -> bool:
        with self.app.store.read() as connection:
            state = connection.execute(
                select(attempts.c.state).where(attempts.c.job_id == self.job, attempts.c.number == number)
            ).scalar()
        return state not in ("claimed", "running")

    def kill(self, pid_of: Callable[[Any], int]) -> float:
        """Seconds from the kill of a process of the running attempt to the committed end of that attempt."""
        row = wait_for(self.running, 60.0, "a running attempt")
        os.kill(pid_of(row), signal.SIGKILL)
        return until(lambda: self.ended(row.number))

    def kill_consumer(self) -> tuple[float, float]:
        """Seconds from the kill of the consumer to the row that records it, and to its successor's first beat."""
        old = wait_for(self._consumer, 60.0, "a consumer")
        os.kill(old, signal.SIGKILL)
        noticed = until(lambda: self._consumer() != old)
        return noticed, noticed + until(self._consumer)

    def _consumer(self) -> Any:
        with self.app.store.read() as connection:
            return workers.all_workers(connection)[0]["consumer_pid"]


def deaths(kills: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home", {**DEFAULTS, **LATE, "QMRUNNER_MAX_RETRIES": "100000"})
        home.extra |= {"QMRUNNER_POISON_DEATHS": "100000", "QMRUNNER_RETRY_DELAY_SECONDS": "0"}
        with ended_daemons(home) as start:
            watched = Watched(home, start())
            times = {
                "engine": [watched.kill(lambda row: row.engine_pid) for _ in range(kills)],
                "guardian": [watched.kill(lambda row: row.guardian["pid"]) for _ in range(kills)],
            }
            consumers = [watched.kill_consumer() for _ in range(min(kills, 6))]
            return times | {
                "consumer": [consumer for consumer, _ in consumers],
                "successor": [two for _, two in consumers],
            }


def restart(rows: int) -> dict[str, float]:
    """A store as a killed machine leaves it: `rows` running attempts of a worker that is dead."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home", {**DEFAULTS, **LATE})
        app = App(home.settings)
        app.open_store(create=True)
        dead = process_tree.myself().as_dict() | {"pid": 1, "start_ticks": 1}
        capacity = Capacity(slots=rows, cores=rows, memory_mib=rows * 4096)
        params = {"structure": "water.xyz", "args": [], "files": ["water.xyz"], "atoms": ["O", "H", "H"]}
        with app.store.write() as connection:
            worker = workers.register(
                connection, time.time(), name="dead", host="dead", identity=dead, home_id=app.home_id(),
                home=str(home.path), capacity=capacity, version="0",
            )  # fmt: skip
            for _ in range(rows):
                job = job_store.new_id()
                (home.settings.jobs_root / job / "input").mkdir(parents=True)
                (home.settings.jobs_root / job / "input" / "water.xyz").write_text(WATER)
                accept(connection, time.time(), job, Submission("xtb", params), app.planner)
            while claim := claims.claim(connection, time.time(), worker, capacity, directory.paths(home.settings)):
                claims.start(
                    connection, time.time(), step_id=claim.step.id, number=1,
                    guardian=dead, engine_pid=1, notes=(),
                )  # fmt: skip

        def old_running() -> int:
            with app.store.read() as connection:
                query = select(func.count()).where(attempts.c.number == 1, attempts.c.state == "running")
                return connection.execute(query).scalar() or 0

        def rerun() -> bool:
            with app.store.read() as connection:
                query = select(func.count()).where(attempts.c.number == 2, attempts.c.state == "running")
                return bool(connection.execute(query).scalar())

        assert old_running() == rows
        with ended_daemons(home) as start:
            begin = time.monotonic()
            start(ready=False)
            until(lambda: old_running() == 0, 120.0)
            judged = time.monotonic() - begin
            until(rerun, 120.0)
            return {"judged_s": round(judged, 2), "first_rerun_s": round(time.monotonic() - begin, 2)}


def silence() -> float:
    """Seconds from the moment a worker falls silent to the release of its attempt by another worker of the store."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shared = {**DEFAULTS, **LATE, "QMRUNNER_STORE_URL": f"sqlite:///{root / 'store.db'}"}
        shared |= {f"QMRUNNER_{name.upper()}": str(root / name) for name in ("jobs", "scratch", "logs")}
        first, second = Home(root / "first", shared), Home(root / "second", shared)
        with ended_daemons(first) as start:
            watched = Watched(first, start())
            row = wait_for(watched.running, 60.0, "a running attempt")
            start(on=second)
            silent = watched.daemon.pid
            for pid in (silent, *process_tree.children_of(silent)):
                os.kill(pid, signal.SIGSTOP)
            return until(lambda: watched.ended(row.number), 120.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--silences", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    measured = deaths(given.kills)
    report: dict[str, Any] = {
        what: {
            "kills": len(times),
            "p50_s": round(statistics.median(times), 3),
            "p99_s": round(sorted(times)[min(len(times) - 1, int(len(times) * 0.99))], 3),
        }
        for what, times in measured.items()
    }
    report["restart"] = {"rows": given.rows, **restart(given.rows)}
    report["silence"] = [round(silence(), 1) for _ in range(given.silences)]
    if given.json:
        print(json.dumps(report, indent=1))
        return
    for what in ("engine", "guardian", "consumer"):
        row = report[what]
        print(
            f"{what:9} killed {row['kills']:3} times: durable after p50 {row['p50_s']:.3f} s, p99 {row['p99_s']:.3f} s"
        )
    row = report["successor"]
    print(f"a killed consumer's successor beats after p50 {row['p50_s']:.3f} s, p99 {row['p99_s']:.3f} s")
    row = report["restart"]
    times = f"judged in {row['judged_s']} s, first rerun {row['first_rerun_s']} s"
    print(f"{row['rows']} running rows of a dead machine: {times}")
    print(f"a silent worker is called lost after {', '.join(f'{seconds} s' for seconds in report['silence'])}")


if __name__ == "__main__":
    main()
