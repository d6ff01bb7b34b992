"""One active attempt of a consumer, and the set of all of them. `runner` runs one to its ending."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.narration import Narration
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.settings import Settings


@dataclass
class ActiveAttempt:
    """One attempt that this consumer runs. `stop` may be called from any thread."""

    job: Job
    step: Step
    number: int
    grant: Grant
    directory: AttemptDirectory
    log: Path
    marker: str
    begun: bool = False  # a guardian was forked for it
    engine_pid: int | None = None
    content_key: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    narration: Narration | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    dirty: bool = False
    thawed_at: float | None = None  # when this process continued after it was stopped, monotonic seconds
    stop_request: tuple[str, float] | None = None
    quota_sent: bool = True
    since: float = field(default_factory=time.time)
    bell: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    @property
    def label(self) -> str:
        return f"{self.job.id}/{self.step.name}"

    def stop(self, reason: str, grace_s: float) -> None:
        self.stop_request = (reason, grace_s)
        os.eventfd_write(self.bell, 1)

    def allow(self, scratch_mib: int) -> None:
        """Raise the scratch quota after its reservation has grown; the monitor sends it to the guardian."""
        self.grant = replace(self.grant, scratch_mib=scratch_mib)
        self.quota_sent = False
        os.eventfd_write(self.bell, 1)

    def close(self) -> None:
        os.close(self.bell)


class ActiveAttempts:
    """All attempts that this consumer runs, shared by worker threads, heartbeat and drain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[tuple[int, int], ActiveAttempt] = {}

    def add(self, attempt: ActiveAttempt) -> None:
        with self._lock:
            self._attempts[(attempt.step.id, attempt.number)] = attempt

    def remove(self, attempt: ActiveAttempt) -> None:
        with self._lock:
            self._attempts.pop((attempt.step.id, attempt.number), None)
        attempt.close()

    def all(self) -> list[ActiveAttempt]:
        with self._lock:
            return list(self._attempts.values())

    def stop(self, attempt: ActiveAttempt, reason: str, grace_s: float) -> None:
        """Request the end of an attempt, unless it has ended already."""
        with self._lock:
            if (attempt.step.id, attempt.number) in self._attempts and attempt.stop_request is None:
                attempt.stop(reason, grace_s)


def engine_grace_s(settings: Settings) -> float:
    """Seconds from TERM to KILL for an engine; leaves time within the stop grace to commit and exit."""
    return settings.stop_grace_seconds * 0.4


def log_fields(attempt: ActiveAttempt) -> dict[str, Any]:
    """The fields that identify an attempt in a log event."""
    return {"job": attempt.job.id, "step": attempt.step.name, "attempt": attempt.number}
