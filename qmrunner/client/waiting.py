"""Waits for jobs, through every outage of the server: what the server has accepted it keeps."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence

from qmrunner.client.described import Described
from qmrunner.client.progress import Display, display
from qmrunner.client.refusals import NoWorkerWarning
from qmrunner.client.session import Session
from qmrunner.errors import NotReadyError, QmrunnerError

# Seconds between two looks: short for short jobs, and less than 60 requests a minute for long ones.
_LOOK_S, _LONGEST_LOOK_S = 0.2, 2.0
_WORKERS_EVERY_S = 30.0
_FIRST_WORKERS_S = 5.0

Look = Callable[[Callable[[QmrunnerError], None]], Awaitable[None]]


async def until_over(
    session: Session, jobs: Sequence[Described], look: Look, *, progress: bool, timeout: float | None
) -> None:
    """Ask with `look`, which renews `jobs`, until all are over. Raises NotReadyError `wait_timeout`."""
    label = f"{jobs[0].kind} {jobs[0].name or jobs[0].id}" if len(jobs) == 1 else f"{len(jobs)} jobs"
    shown = display(label, progress)
    began = time.monotonic()
    workers = _Workers(session, began + _FIRST_WORKERS_S)
    pause = _LOOK_S

    def outage(problem: QmrunnerError) -> None:
        shown.show(_fraction(jobs), f"{problem.message}; retrying")
        _check(began, timeout, jobs)

    try:
        while True:
            await look(outage)
            _show(shown, jobs)
            if all(job.is_over for job in jobs):
                return
            _check(began, timeout, jobs)
            await workers.check(jobs)
            await session.wire.sleep(pause * random.uniform(0.9, 1.1))
            pause = min(_LONGEST_LOOK_S, pause * 1.2)
    finally:
        shown.close()


class _Workers:
    """Warns once that no worker runs: a wait could be silent forever."""

    def __init__(self, session: Session, first: float) -> None:
        self._session, self._next, self._warned = session, first, False

    async def check(self, jobs: Sequence[Described]) -> None:
        if self._warned or time.monotonic() < self._next or any(job.state == "running" for job in jobs):
            return
        self._next = time.monotonic() + _WORKERS_EVERY_S
        found = await self._session.json("GET", "/v1/workers", forever=True)
        if not any(not row["stale"] for row in found["workers"]):
            self._warned = True
            warnings.warn(
                f"no worker runs for {self._session.where}: the jobs are stored and wait; start `qmrunner run`",
                NoWorkerWarning, stacklevel=2,
            )  # fmt: skip


def _check(began: float, timeout: float | None, jobs: Sequence[Described]) -> None:
    if timeout is not None and time.monotonic() - began > timeout:
        left = [job.id for job in jobs if not job.is_over]
        raise NotReadyError(
            "wait_timeout", f"{len(left)} of {len(jobs)} jobs have not ended within {timeout:g} s",
            evidence=", ".join(left[:5]), remedy="they keep running: wait again, or look with `job.why()`",
        )  # fmt: skip


def _show(shown: Display, jobs: Sequence[Described]) -> None:
    if len(jobs) == 1:
        shown.show(_fraction(jobs), jobs[0].text)
        return
    states = [job.state for job in jobs]
    words = [f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))]
    shown.show(_fraction(jobs), ", ".join(words))


def _fraction(jobs: Sequence[Described]) -> float:
    return sum(job.fraction for job in jobs) / max(1, len(jobs))
