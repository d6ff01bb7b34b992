"""Killed at random, any number of times: no finished step is repeated, and the answer is that of a quiet run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.store.tables import events
from tests.support import Daemon, Home, wait_for

ENERGY_HARTREE, SHIFT_PPM = 1e-6, 0.01
FINAL = ("succeeded", "failed", "cancelled", "held")
VICTIMS = ("engine", "rank", "guardian", "consumer", "supervisor")
pytestmark = [pytest.mark.engine, pytest.mark.ranks]


class Interrupted:
    """One job and a daemon that is killed in part or whole; the service manager's part is ours."""

    def __init__(self, home: Home, start: Callable[..., Daemon], seed: int) -> None:
        self.home, self.start, self.dice = home, start, random.Random(seed)
        self.daemon = start()
        self.kills: list[str] = []

    def run(self, job: str, kills: int, apart_s: tuple[float, float], deadline_s: float) -> dict[str, Any]:
        """The job's end, after as many kills as it lived long enough for."""
        end = time.monotonic() + deadline_s
        while len(self.kills) < kills and not self._over(job):
            at = time.monotonic() + self.dice.uniform(*apart_s)
            wait_for(lambda at=at: time.monotonic() > at or self._over(job), apart_s[1] + 30.0)
            self._kill(job)
        seen = wait_for(lambda: self._over(job), end - time.monotonic(), "the job's end")
        assert seen is not None
        return seen

    def _over(self, job: str) -> dict[str, Any] | None:
        if not self.daemon.running():
            self.daemon = self.start()
        seen = self.home.job(job)
        return seen if seen["state"] in FINAL else None

    def _kill(self, job: str) -> None:
        kind = self.dice.choice(VICTIMS)
        running = [step for step in self.home.job(job)["steps"] if step["state"] == "running" and step["engine_pid"]]
        if kind == "supervisor":
            pid = self.daemon.pid
        elif not running:
            return
        else:
            step = self.dice.choice(running)
            pid = {
                "engine": step["engine_pid"],
                "rank": next(iter(process_tree.children_of(step["engine_pid"])), step["engine_pid"]),
                "guardian": step["guardian_pid"],
                "consumer": step["worker_pid"],
            }[kind]
            if kind == "consumer":
                pid = self.home.json("status")["workers"][0]["consumer_pid"]
        identity = None if pid is None else process_tree.identity_of(pid)
        if identity is not None and process_tree.send(identity, signal.SIGKILL):
            self.kills.append(kind)


def answer(home: Home, job: str) -> dict[str, Any]:
    """Energies by conformer and shieldings by atom."""
    result = home.json("result", job)
    return {
        "energies": {row["id"]: row["energy_hartree"] for row in result["conformers"]},
        "shieldings": {row["atom"]: row["shielding_ppm"] for row in result["shifts"]},
    }


def successes(home: Home, job: str) -> list[str]:
    """The steps that were brought to success, once for each time."""
    app = App(home.settings)
    try:
        with app.store.read() as connection:
            query = select(events.c.step).where(events.c.job_id == job, events.c.event == "attempt_succeeded")
            return sorted(connection.execute(query).scalars())
    finally:
        app.close()


def check(home: Home, start: Callable[..., Daemon], seed: int, kills: int, molecule: str, *options: str) -> None:
    """The same molecule undisturbed and disturbed."""
    home.extra |= {"QMRUNNER_MAX_RETRIES": "100", "QMRUNNER_POISON_DEATHS": "100"}
    storm = Interrupted(home, start, seed)
    began = time.monotonic()
    calm = str(home.json("submit", "nmr", molecule, *options)["id"])
    assert storm.run(calm, 0, (0.0, 0.0), 900.0)["state"] == "succeeded"
    each_s = (time.monotonic() - began) / kills  # whatever the machine: the kills come while the job lives
    job = str(home.json("submit", "nmr", molecule, *options)["id"])
    ended = storm.run(job, kills, (0.1 * each_s, 1.2 * each_s), 1500.0)
    assert ended["state"] == "succeeded", (storm.kills, home.json("why", job))
    assert len(storm.kills) >= min(3, kills), storm.kills
    wanted, found = answer(home, calm), answer(home, job)
    assert found["energies"] == pytest.approx(wanted["energies"], abs=ENERGY_HARTREE), storm.kills
    assert found["shieldings"] == pytest.approx(wanted["shieldings"], abs=SHIFT_PPM), storm.kills
    assert successes(home, job) == successes(home, calm), storm.kills  # each step once, and none besides


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1])
def test_a_prediction_killed_at_random_ends_with_the_same_shifts(
    home: Home, daemon: Callable[..., Daemon], seed: int
) -> None:
    check(home, daemon, seed, 4, "CO")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [2])
def test_an_ensemble_killed_at_random_ends_with_the_same_shifts(
    home: Home, daemon: Callable[..., Daemon], seed: int
) -> None:
    check(home, daemon, seed, 8, "CCO", "--conformers", "rdkit")
