"""Remedies: automatic changes to a step that failed. Pure: a failure in, a changed step or nothing out.

A remedy applies to some failure codes. It is *neutral* if it keeps the equations, thresholds and molecule (more
iterations, fewer ranks, other coordinates), else *altering*. Each engine lists its remedies; `propose` picks the first
that offers a change. How often each is applied, and their number per step, are limited.

Applied remedies are recorded in the step's params under ``remedies``, together with the values that they replaced. So
engines read plain params, the result's provenance lists every change, and `undone` restores the step as planned.
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
    """What a remedy may use. `grant` is what the failed attempt had, `capacity` what its worker has in total, `times`
    how often this remedy was applied to the step before."""

    step: Step
    outcome: Outcome
    grant: Grant
    capacity: Capacity
    times: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """The change that a remedy proposes: params to set, a new demand, and the `sentence` that is recorded.

    With `instead` the step stays failed, and its workflow adds another step in its place (see `replaced`).
    """

    sentence: str
    params: Mapping[str, Any] = field(default_factory=dict)
    demand: Demand | None = None
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Remedy:
    """One automatic change. `change` returns None if there is nothing (more) to change; `cap` limits how often a step
    gets it."""

    name: str
    codes: frozenset[str]
    neutral: bool
    change: Callable[[Failure], Change | None]
    cap: int = 1


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The step after a remedy: its params with the new record, its demand, and the new record."""

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


def propose(failure: Failure, remedies: Sequence[Remedy], allow: Allowed) -> Adjusted | None:
    """The step changed by the first remedy that applies to its code and offers a change; None: there is none."""
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
    """Whether a remedy replaced this step by another one, which its workflow adds."""
    records = applied(step.params)
    return bool(records and records[-1]["instead"])


def notes(params: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each remedy under which an attempt with these params runs."""
    return tuple(f"remedy: {note(record)}" for record in applied(params))


def changed(notes: Sequence[str], number: int) -> list[str]:
    """The remedies among the notes of attempt `number` that were new in it; earlier ones stay in force."""
    own = f" of attempt {number - 1}: "
    return [note.removeprefix("remedy: ") for note in notes if note.startswith("remedy: ") and own in note]


def note(record: Mapping[str, Any]) -> str:
    """One record as text."""
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


def _changed(failure: Failure, remedy: Remedy, change: Change) -> Adjusted:
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
    return Adjusted(params, change.demand or step.demand, record)
