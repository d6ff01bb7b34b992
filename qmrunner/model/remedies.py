"""Remedies: automatic changes to a step that failed. Pure: a failure in, a changed step or nothing out.

A remedy answers failure codes. It is *neutral* when it leaves the equations, thresholds and molecule as they were (more
iterations, fewer ranks, other coordinates), else *altering*. Engines say which they have; `propose` picks the first
that still has something to offer. Each is capped, and so is their number per step, so that no step is changed for ever.

What was applied stands in the step's params under ``remedies``, with what stood there before. So engines read plain
params, the result's provenance tells every change, and `undone` gives back the step as it was planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from qmrunner.model.jobs import Demand, Grant, Outcome, Step
from qmrunner.model.packing import Capacity

KEY = "remedies"
MOST_PER_STEP = 8
Allowed = Literal["off", "neutral", "all"]


@dataclass(frozen=True, slots=True)
class Failure:
    """What a remedy may know. `grant` is what the failed attempt had, `capacity` all its worker has, `times` how often
    this very remedy was applied to the step before."""

    step: Step
    outcome: Outcome
    grant: Grant
    capacity: Capacity
    times: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What a remedy makes of a step: params to set, another demand, and `sentence`, the sentence on record.

    With `instead` the step stays failed, and its workflow puts another in its place (see `replaced`).
    """

    sentence: str
    params: Mapping[str, Any] = field(default_factory=dict)
    demand: Demand | None = None
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way to help. `change` returns None where it has nothing (more) to offer; `cap` bounds how often a step gets
    it."""

    name: str
    codes: frozenset[str]
    neutral: bool
    change: Callable[[Failure], Change | None]
    cap: int = 1


@dataclass(frozen=True, slots=True)
class Remedied:
    """The step after a remedy: its params with the new record, its demand, and that record by itself."""

    params: Mapping[str, Any]
    demand: Demand
    record: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        return str(self.record["change"])

    @property
    def instead(self) -> bool:
        return bool(self.record["instead"])


def allowed(setting: str, job_params: Mapping[str, Any]) -> Allowed:
    """What the setting and the job together allow: a job may allow more than ``neutral``, never more than ``off``."""
    if setting == "off":
        return "off"
    return "all" if setting == "all" or job_params.get("allow_altering") else "neutral"


def propose(failure: Failure, remedies: Sequence[Remedy], allow: Allowed) -> Remedied | None:
    """The step changed by the first remedy that answers its code and has something to offer; None stops the step."""
    before = applied(failure.step.params)
    if allow == "off" or len(before) >= MOST_PER_STEP:
        return None
    for remedy in remedies:
        if failure.outcome.code not in remedy.codes or not (remedy.neutral or allow == "all"):
            continue
        times = sum(record["remedy"] == remedy.name for record in before)
        change = None
        if times < remedy.cap:
            change = remedy.change(Failure(failure.step, failure.outcome, failure.grant, failure.capacity, times))
        if change is not None:
            return _changed(failure, remedy, change)
    return None


def applied(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of a step's params, oldest first: `remedy`, `neutral`, `code`, `after` (the attempt that failed),
    `change` (the sentence), `instead`, and `before` (what `undone` puts back)."""
    return list(params.get(KEY) or ())


def replaced(step: Step) -> bool:
    """Whether a remedy gave up this step in favour of another one, which its workflow adds."""
    records = applied(step.params)
    return bool(records and records[-1]["instead"])


def notes(params: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each remedy under which an attempt with these params runs."""
    return tuple(f"remedy: {note(record)}" for record in applied(params))


def changed(notes: Sequence[str], number: int) -> list[str]:
    """Of the notes of attempt `number` the remedies that came with it; earlier ones stay in force unsaid."""
    own = f" of attempt {number - 1}: "
    return [one.removeprefix("remedy: ") for one in notes if one.startswith("remedy: ") and own in one]


def note(record: Mapping[str, Any]) -> str:
    """One record for people."""
    kind = "" if record["neutral"] else "; this can alter the answer"
    return f"{record['remedy']} after {record['code']} of attempt {record['after']}: {record['change']}{kind}"


def undone(params: Mapping[str, Any], demand: Demand) -> tuple[dict[str, Any], Demand]:
    """Params and demand as they were before any remedy."""
    plain = {name: value for name, value in params.items() if name != KEY}
    for record in reversed(applied(params)):
        for name, value in record["before"]["params"].items():
            plain[name] = value
            if value is None:
                del plain[name]
        if record["before"]["demand"] is not None:
            demand = Demand(**record["before"]["demand"])
    return plain, demand


def _changed(failure: Failure, remedy: Remedy, change: Change) -> Remedied:
    step = failure.step
    record = {
        "remedy": remedy.name,
        "neutral": remedy.neutral,
        "code": failure.outcome.code,
        "after": step.attempt,
        "change": change.sentence,
        "instead": change.instead,
        "before": {
            "params": {name: step.params.get(name) for name in change.params},
            "demand": asdict(step.demand) if change.demand else None,
        },
    }
    params = {**step.params, **change.params, KEY: [*applied(step.params), record]}
    return Remedied(params, change.demand or step.demand, record)
