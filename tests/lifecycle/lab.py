"""What the lifecycle tests look through: rows, process identities, and the shortest way to a running job."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.store import operator_actions
from qmrunner.store.session import Store
from qmrunner.store.tables import attempts, jobs, reservations, steps
from qmrunner.submission import job_kinds
from qmrunner.submission.submit import submit
from tests.support import Daemon, Home, wait_for

STAND_IN = Path(__file__).parents[1] / "stand_ins" / "xtb"
FINAL = ("succeeded", "failed", "cancelled")


class Lab:
    """One home under test."""

    def __init__(self, home: Home, start: Callable[..., Daemon]) -> None:
        self.home = home
        self.start = start
        self._structures = 0
        self.app = App(home.settings)

    @property
    def store(self) -> Store:
        return self.app.open_store(create=True)

    def close(self) -> None:
        self.app.close()

    def open_gate(self) -> None:
        """Let every engine submitted with `gate=1` come to its end."""
        Path(self.home.extra["STAND_IN_GATE"]).touch()

    # -- jobs -------------------------------------------------------------------------------------------------------

    def submit(self, **behaviour: object) -> str:
        """A job of one step whose engine behaves as requested: see `stand_ins/xtb`."""
        self._structures += 1
        path = self.home.path.parent / f"mol{self._structures}.xyz"
        words = " ".join(f"{name}={value}" for name, value in behaviour.items())
        path.write_text(f"3\n{words}\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
        return submit(self.app, job_kinds.xtb(str(path), [], [])).job_id

    def move(self, verb: str, job: str) -> None:
        """`cancel`, `retry`, `hold` or `release`, as the command line does it."""
        with self.store.write() as connection:
            getattr(operator_actions, verb)(connection, time.time(), job)
        self.app.queue.notify()

    def state(self, job: str) -> str:
        with self.store.read() as connection:
            return str(connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar_one())

    def step(self, job: str) -> Any:
        with self.store.read() as connection:
            return connection.execute(select(steps).where(steps.c.job_id == job)).one()

    def attempts(self, job: str) -> list[tuple[int, str, str | None]]:
        """(number, state, code) of every attempt of the job."""
        columns = (attempts.c.number, attempts.c.state, attempts.c.code)
        with self.store.read() as connection:
            rows = connection.execute(select(*columns).where(attempts.c.job_id == job).order_by(attempts.c.number))
            return [tuple(row) for row in rows]

    def reserved(self) -> int:
        with self.store.read() as connection:
            return int(connection.execute(select(func.count()).select_from(reservations)).scalar_one())

    def running(self, job: str, deadline_s: float = 20.0) -> Identity:
        """Who its engine is, once the attempt is on record as running."""

        def found() -> Identity | None:
            with self.store.read() as connection:
                row = connection.execute(
                    select(attempts.c.engine_pid).where(attempts.c.job_id == job, attempts.c.state == "running")
                ).first()
            return process_tree.identity_of(row.engine_pid) if row and row.engine_pid else None

        engine = wait_for(found, deadline_s, f"a running attempt of {job}")
        assert engine is not None
        return engine

    def guardian(self, job: str, number: int = 1) -> Identity:
        path = self.home.settings.scratch_root / job / "xtb" / str(number) / "guardian.json"
        return Identity.from_dict(json.loads(path.read_text())["guardian"])

    def ended(self, job: str, deadline_s: float = 20.0) -> str:
        """The final state of a job."""
        wait_for(lambda: self.state(job) in FINAL, deadline_s, f"the end of {job}")
        return self.state(job)

    def result(self, job: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.home.settings.jobs_root / job / "result.json").read_text())
        return value

    def published_attempt(self, job: str) -> int:
        """Which attempt wrote the published files."""
        text = (self.home.settings.jobs_root / job / "xtb" / "energy").read_text()
        return int(text.strip().rsplit("/", 1)[1])

    # -- processes --------------------------------------------------------------------------------------------------

    def child(self, name: str) -> Identity:
        """The daemon's `consumer` or `spawner`."""

        def found() -> Identity | None:
            state = json.loads((self.home.settings.run_root / "supervisor.json").read_text())
            pid = state["children"][name]["pid"]
            return process_tree.identity_of(pid) if pid else None

        identity = wait_for(found, 5.0, f"a {name}")
        assert identity is not None
        return identity

    def marked(self, job: str) -> list[int]:
        """Living processes that carry the marker of one of the job's attempts."""
        return [pid for pid, marker in process_tree.marked().items() if marker.startswith(f"{job}/")]

    def nothing_left(self, *some: str) -> None:
        """No process, reservation or scratch of these jobs."""
        for job in some:
            wait_for(lambda job=job: not self.marked(job), 5.0, f"the end of all processes of {job}")
            wait_for(lambda job=job: not (self.home.settings.scratch_root / job).exists(), 5.0, f"{job}'s scratch gone")
        assert self.reserved() == 0


def kill(identity: Identity, number: int = signal.SIGKILL) -> None:
    assert process_tree.send(identity, number), identity


def gone(identity: Identity, deadline_s: float = 5.0) -> None:
    wait_for(lambda: not process_tree.is_alive(identity), deadline_s, f"the end of process {identity.pid}")


def freeze(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def thaw(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
