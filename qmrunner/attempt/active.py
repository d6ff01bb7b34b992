"""One attempt as a consumer holds it, and the set of those in hand. What is done with one: `preparation`, `follower`,
`outcomes`.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qmrunner.attempt.directory import AttemptFolder
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.settings import Settings


@dataclass
class Live:
    """One attempt in the hands of this consumer. `stop` may be called from any thread."""

    job: Job
    step: Step
    number: int
    grant: Grant
    folder: AttemptFolder
    log: Path
    marker: str
    begun: bool = False  # a guardian was forked for it
    engine_pid: int | None = None
    content_key: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    dirty: bool = False
    stop_request: tuple[str, float] | None = None
    quota_told: bool = True
    since: float = field(default_factory=time.time)
    bell: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    @property
    def label(self) -> str:
        return f"{self.job.id}/{self.step.name}"

    def stop(self, reason: str, grace_s: float) -> None:
        self.stop_request = (reason, grace_s)
        os.eventfd_write(self.bell, 1)

    def allow(self, scratch_mib: int) -> None:
        """Its reservation has grown: let the guardian know."""
        self.grant = replace(self.grant, scratch_mib=scratch_mib)
        self.quota_told = False
        os.eventfd_write(self.bell, 1)

    def close(self) -> None:
        os.close(self.bell)


class LiveSet:
    """The attempts in hand, shared by the worker threads, the beat and the drain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[tuple[int, int], Live] = {}

    def add(self, live: Live) -> None:
        with self._lock:
            self._live[(live.step.id, live.number)] = live

    def remove(self, live: Live) -> None:
        with self._lock:
            self._live.pop((live.step.id, live.number), None)
        live.close()

    def all(self) -> list[Live]:
        with self._lock:
            return list(self._live.values())

    def stop(self, live: Live, reason: str, grace_s: float) -> None:
        """Ask for the end of an attempt, unless it has ended already."""
        with self._lock:
            if (live.step.id, live.number) in self._live and live.stop_request is None:
                live.stop(reason, grace_s)


def engine_grace_s(settings: Settings) -> float:
    """From TERM to KILL for an engine, so that committing and exiting still fit into the stop grace."""
    return settings.stop_grace_seconds * 0.4


def who(live: Live) -> dict[str, Any]:
    """The fields that name an attempt in an event."""
    return {"job": live.job.id, "step": live.step.name, "attempt": live.number}
