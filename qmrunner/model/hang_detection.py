"""When a running step counts as hung. Pure: observations in, verdicts out.

Signs of life are output, reported iterations and growing scratch. Without them the state of the processes decides:

    stopped   one is stopped (state T) and cannot resume without SIGCONT    soon
    idle      all sleep and none uses CPU                                   after `quiet_s`
    blocked   one waits for a disk or a network file (state D), no CPU used after three times `quiet_s`
    spinning  CPU is used, and there is no other sign of life               after `busy_s`; sooner between iterations

Each bound also takes the step's own history into account: the time between iterations of this phase, in this attempt
and in earlier ones, and the longest silence after which the step resumed.

Only observed time counts. An observation is one sample by the guardian. A long gap between two samples means that the
guardian, the worker or the machine was paused: the gap does not count, and after a very long gap counting starts from
zero. So a suspended machine never makes a step look hung, nor does an unreachable store, which is not used here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Kind = Literal["stopped", "idle", "blocked", "spinning"]

# Samples come every 2 s. After a longer gap the time does not count; after a pause counting starts from zero.
_OBSERVED_S, _PAUSE_S = 5.0, 30.0
# Share of one core below which a tree that sleeps is called idle: launchers and shells poll.
_IDLE_SHARE = 0.02
_ENOUGH_GAPS = 3
_KEPT_GAPS = 99
_STOPPED_MEDIANS, _SURVIVED, _SPINNING_LONGEST = 2.0, 3.0, 30.0
_BLOCKED_QUIETS, _ITERATING_PART = 3.0, 1.0 / 6.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Tolerated silence in seconds: the minimum, for an idle step, and for a step that uses CPU. With `exact` the
    history of the step does not lengthen them."""

    floor_s: float = 60.0
    quiet_s: float = 600.0
    busy_s: float = 21600.0
    exact: bool = False


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One process of the tree as the guardian sampled it. `state` is the letter of `/proc/PID/stat`."""

    pid: int
    name: str
    state: str
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Observation:
    """One sample of a step. `at_s` is the guardian's monotonic clock.

    `iterations` counts the iterations in the output so far, `iterating` is whether its last line reported one,
    `caught_up` whether all output was read.
    """

    at_s: float
    output_bytes: int
    iterations: int = 0
    phase: str | None = None
    iterating: bool = False
    caught_up: bool = True
    cpu_s: float = 0.0
    scratch_mib: float = 0.0
    processes: tuple[ProcessSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two iterations of a phase: how many were timed, their median and the longest."""

    count: int
    median_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`still_s` is how long there was no sign of life, `bound_s` when that is a hang, `cpu_s` the CPU time
    meanwhile."""

    state: Literal["living", "quiet", "still", "hung"]
    kind: Kind | None = None
    still_s: float = 0.0
    bound_s: float = 0.0
    cpu_s: float = 0.0
    culprits: tuple[ProcessSample, ...] = ()


@dataclass
class _Gaps:
    """Times between iterations of one phase."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_GAPS))
    count: int = 0
    longest_s: float = 0.0

    def add(self, seconds: float, times: int) -> None:
        self.recent.extend([seconds] * min(times, _KEPT_GAPS))
        self.count += times
        self.longest_s = max(self.longest_s, seconds)


class HangDetector:
    """Watches one attempt. `past` is the pace of earlier attempts by phase. `survived_s` has for each kind the longest
    silence after which the step resumed: in earlier attempts at first, then in this one too."""

    def __init__(
        self, bounds: Bounds, past: Mapping[str, Pace] | None = None, survived_s: Mapping[str, float] | None = None
    ) -> None:
        self._bounds = bounds
        self._past = dict(past or {})
        self.survived_s: dict[str, float] = dict(survived_s or {})
        self._gaps: dict[str, _Gaps] = {}
        self._last: Observation | None = None
        self._clock_s = 0.0
        self._gap_since: float | None = None
        self._reset(0.0)

    def _reset(self, cpu_s: float) -> None:
        self._still_s: dict[Kind, float] = {}
        self._stopped: dict[int, ProcessSample] = {}
        self._blocked: dict[int, ProcessSample] = {}
        self._cpu_before_s = cpu_s

    def observe(self, now: Observation) -> Verdict:
        """The verdict after one more observation. The same observation again changes nothing."""
        before = self._last
        span = 0.0 if before is None else now.at_s - before.at_s
        if before is not None and span <= 0.0:
            return self._verdict(before)
        self._last = now
        if before is None or span > _PAUSE_S:
            self._gap_since = None
            self._reset(now.cpu_s)
            return Verdict("living")
        counted = span if span <= _OBSERVED_S else 0.0
        self._clock_s += counted
        self._learn(before, now)
        if _signs(now) != _signs(before):
            for kind in self._still_s:
                self._survive(kind)
            self._reset(now.cpu_s)
            return Verdict("living")
        self._count(before, now, counted, span)
        return self._verdict(now)

    # -- what the step has shown --------------------------------------------------------------------------------------

    def _learn(self, before: Observation, now: Observation) -> None:
        """Time the iterations since the last observation. Output that was read late, as after an adoption, has no
        times."""
        times = now.iterations - before.iterations
        if times <= 0:
            return
        if before.caught_up and self._gap_since is not None:
            gap = (self._clock_s - self._gap_since) / times
            self._gaps.setdefault(now.phase or "", _Gaps()).add(gap, times)
        self._gap_since = self._clock_s if now.caught_up else None

    def pace(self, phase: str | None) -> Pace | None:
        """The pace of a phase in this attempt, else in earlier ones; None if too few iterations were timed."""
        own, past = self._gaps.get(phase or ""), self._past.get(phase or "")
        longest = max(own.longest_s if own else 0.0, past.longest_s if past else 0.0)
        if own is not None and own.count >= _ENOUGH_GAPS:
            return Pace(own.count, median(own.recent), longest)
        return None if past is None or past.count < _ENOUGH_GAPS else Pace(past.count, past.median_s, longest)

    def paces(self) -> dict[str, Pace]:
        """All paces by phase, kept for later attempts."""
        found = ((phase, self.pace(phase)) for phase in {*self._gaps, *self._past})
        return {phase: pace for phase, pace in found if pace is not None}

    # -- what it does now ---------------------------------------------------------------------------------------------

    def _count(self, before: Observation, now: Observation, counted: float, span: float) -> None:
        previous = {process.pid: process for process in before.processes}
        same = [p for p in now.processes if p.pid in previous and p.cpu_s <= previous[p.pid].cpu_s]
        self._stopped, was_stopped = _held("T", same, self._stopped)
        self._blocked, was_blocked = _held("D", same, self._blocked)
        working = not now.processes or any(process.state in "RDT" for process in now.processes)
        idle = not working and now.cpu_s - before.cpu_s < _IDLE_SHARE * span
        holds: dict[Kind, bool] = {"stopped": was_stopped, "blocked": was_blocked, "idle": idle, "spinning": True}
        for kind, held in holds.items():
            if held:
                self._still_s[kind] = self._still_s.get(kind, 0.0) + counted
            else:
                self._survive(kind)
                self._still_s.pop(kind, None)

    def _survive(self, kind: Kind) -> None:
        if self._bounds.exact:
            return
        self.survived_s[kind] = max(self.survived_s.get(kind, 0.0), self._still_s.get(kind, 0.0))

    def _verdict(self, now: Observation) -> Verdict:
        used = max(0.0, now.cpu_s - self._cpu_before_s)
        found: Verdict | None = None
        for kind in ("stopped", "blocked", "idle", "spinning"):
            still = self._still_s.get(kind)
            if still is None:
                continue
            bound = self._bound(kind, now)
            name: Literal["quiet", "still", "hung"] = "quiet" if kind == "spinning" else "still"
            verdict = Verdict("hung" if still >= bound else name, kind, still, bound, used, self._culprits(kind, now))
            if verdict.state == "hung":
                return verdict
            found = found or verdict
        return found or Verdict("living")

    def _culprits(self, kind: Kind, now: Observation) -> tuple[ProcessSample, ...]:
        if kind == "stopped":
            return tuple(self._stopped.values())
        if kind == "blocked":
            return tuple(self._blocked.values())
        return tuple(process for process in now.processes if kind == "idle" or process.state == "R")

    def _bound(self, kind: Kind, now: Observation) -> float:
        """After how many seconds this kind is a hang, by the settings and the step's own history."""
        bounds, pace = self._bounds, self.pace(now.phase)
        if kind == "stopped":
            median_s = pace.median_s if pace else 0.0
            return max(bounds.floor_s, min(_STOPPED_MEDIANS * median_s, bounds.quiet_s))
        survived = self.survived_s.get(kind, 0.0)
        if kind == "idle":
            return max(bounds.quiet_s, _SURVIVED * survived)
        if kind == "blocked":
            return max(_BLOCKED_QUIETS * bounds.quiet_s, _SURVIVED * survived)
        # A computing step may be silent for long, but not as long if it has been reporting iterations until now.
        between = now.iterating and pace is not None
        longest = max([survived, *(pace.longest_s for pace in self.paces().values())])
        return max(bounds.floor_s, bounds.busy_s * (_ITERATING_PART if between else 1.0), _SPINNING_LONGEST * longest)


def _signs(sample: Observation) -> tuple[int, int, float]:
    """The values whose change is a sign of life."""
    return sample.output_bytes, sample.iterations, sample.scratch_mib


def _held(
    state: str, same: list[ProcessSample], before: Mapping[int, ProcessSample]
) -> tuple[dict[int, ProcessSample], bool]:
    """Processes in this state that used no CPU since the last sample, and whether one was in it before that, too."""
    now = {process.pid: process for process in same if process.state == state}
    kept = {pid: process for pid, process in now.items() if pid in before}
    return kept or now, bool(kept)


_NAMED = 3
_WORDS: dict[Kind, str] = {
    "stopped": "stopped (state T): {who} cannot resume without SIGCONT, no sign of life for {still}",
    "idle": "idle: {who} wrote nothing and used no CPU for {still}",
    "blocked": "blocked (state D): {who} waits for a disk or a network file system, no sign of life for {still}",
    "spinning": "spinning: {who} used {cpu:.0f} s of CPU but wrote nothing and reported no iteration for {still}",
}
_REMEDIES: dict[Kind, str] = {
    "stopped": "Find out what stopped the process (SIGSTOP, a debugger, job control); the run itself may be sound.",
    "idle": "The processes wait for each other or for an outside event: see their stacks in the file named above.",
    "blocked": "Check the disk or file server of the scratch folder, then `qmrunner retry`.",
    "spinning": "MPI ranks may be waiting for each other: see their stacks in the file named above, try fewer ranks, "
    "and give them more memory and shared memory.",
}


def sentence(verdict: Verdict) -> str:
    """The verdict as a sentence: ``stopped (state T): process 4242 (nwchem) …``."""
    if verdict.kind is None:
        return "no sign of a hang"
    some = ", ".join(f"{process.pid} ({process.name})" for process in verdict.culprits[:_NAMED])
    more = len(verdict.culprits) - _NAMED
    who = f"process{'es' if len(verdict.culprits) > 1 else ''} {some}" if some else "the program"
    who += f" and {more} more" if more > 0 else ""
    return _WORDS[verdict.kind].format(who=who, still=f"{verdict.still_s:.0f} s", cpu=verdict.cpu_s)


def remedy(text: str) -> str:
    """The remedy for a hang that `sentence` describes as `text`."""
    again = "The attempt was ended; the step is retried from its last checkpoint while retries are left. "
    kind = next((kind for kind in _REMEDIES if text.startswith(kind)), None)
    return again + (_REMEDIES[kind] if kind else "If it hangs again, check its input and its log.")


def pace_from(value: Any) -> Pace | None:
    """From the JSON of an earlier attempt; None for anything else."""
    try:
        return Pace(int(value["count"]), float(value["median_s"]), float(value["longest_s"]))
    except (LookupError, TypeError, ValueError):
        return None
