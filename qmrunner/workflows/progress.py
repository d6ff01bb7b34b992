"""The progress of a job as shown to users: counts, a fraction, and an estimate from the finished steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmrunner.model.jobs import Step
from qmrunner.model.states import STEP_LIVE, StepState
from qmrunner.model.text import time_left
from qmrunner.workflows import base

_DONE = frozenset({StepState.SUCCEEDED, StepState.FAILED})


def seconds_left(steps: Sequence[Step], stages: Sequence[str]) -> float | None:
    """Estimated seconds that the existing steps of `stages` still take; None while a stage has no finished step.

    It is the mean duration of a stage's finished steps, times the number of unfinished ones (running steps count half),
    divided by the number of steps that run side by side.
    """
    total = 0.0
    for stage in stages:
        mine = [step for step in steps if step.stage == stage and step.state != StepState.SKIPPED]
        left = [step for step in mine if step.state not in _DONE]
        if not left:
            continue
        known = [duration for duration in map(_duration, mine) if duration is not None]
        if not known:
            return None
        live = sum(step.state in STEP_LIVE for step in left)
        total += sum(known) / len(known) * (len(left) - 0.5 * live) / max(1, live)
    return total


def _duration(step: Step) -> float | None:
    if step.state != StepState.SUCCEEDED or step.started_at is None or step.finished_at is None:
        return None
    return (step.finished_at - step.started_at).total_seconds()


def describe(steps: Sequence[Step], counted: Sequence[tuple[str, str]], named: int = 2) -> dict[str, Any]:
    """``text`` and ``seconds_left`` from `counted`: pairs of a word and the stage it counts.

    The estimate covers the stages planned so far; while a later stage is not planned yet, the text names the stages
    that the estimate is for.
    """
    parts = []
    for word, stage in counted:
        done, of = base.count(steps, stage)
        parts.append(f"{word} {done}/{of}" if of else f"{word} not planned yet")
    if not any(step.stage == stage for step in steps for _, stage in counted):
        parts = ["searching conformers"]
    stages = [stage for _, stage in counted]
    left = seconds_left(steps, stages)
    if left:
        open_ones = [word for word, stage in counted if base.count(steps, stage)[1] == 0]
        parts.append(time_left(left) + (f" before {' and '.join(open_ones)}" if open_ones else ""))
    running = base.active(steps)
    if running:
        more = f" and {len(running) - named} more" if len(running) > named else ""
        parts.append(f"running {', '.join(running[:named])}{more}")
    return {"text": ", ".join(parts), "seconds_left": None if not left else round(left, 1)}


def fraction(steps: Sequence[Step], shares: Sequence[tuple[str, float]]) -> float:
    """From 0 to 1 over `shares`: each stage has its part of the whole; a stage without steps counts as not begun."""
    total = done = 0.0
    for stage, share in shares:
        mine = [step for step in steps if step.stage == stage and step.state != StepState.SKIPPED]
        over = sum(step.state in _DONE for step in mine)
        total += share
        done += share * over / len(mine) if mine else 0.0
    return round(done / total, 4) if total else 0.0
