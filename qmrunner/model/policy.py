"""What to do with an outcome: retry, change and retry, give up, hold, requeue. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qmrunner.model import space
from qmrunner.model.jobs import Evidence, Outcome
from qmrunner.model.remedies import Remedied
from qmrunner.model.states import AttemptState

RETRY_DELAY_CAP_S = 600.0
PUT_OFF_S = 5.0
SAME_RUNNING = "same_running"
# A reboot, or a death before the engine began, says nothing about the step.
_HELD_AGAINST = ("guardian", "worker")
# Ends that come from outside the run, by accident or by plan. They say nothing about what it would do once more.
_FROM_OUTSIDE = frozenset(
    {"killed", "terminated", "interrupted", "timed_out", "time_limit_reached", "hung", "attempt_folder_lost"}
)
SAME_AGAIN = "; the same as in attempt "
# What differs between two runs of the same: addresses, folders, times of day, durations, whole numbers (of processes,
# ranks, attempts). Numbers with a decimal point are results, and stay.
_VARIES = re.compile(
    r"0x[0-9a-fA-F]+|(?:/[^\s/:'\"()]+)+/|(?<!\w)\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?!\d)"
    r"|\d+(?:\.\d+)?(?= ?(?:s|ms|sec|seconds|min)\b)|(?<=\.)\d+(?=\.log\b)|(?<![\d.])\d+(?!\d|\.\d)"
)
# Deaths of a step's guardian or worker are counted within this window.
POISON_WINDOW_S = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one move that ends an attempt, and everything that is recorded with it.

    `move` is a step move of `states.STEP_MOVES`. `delay_s` keeps a requeued step from being claimed at once. `remedied`
    is what becomes of the step's params and demand.
    """

    move: str
    attempt_state: AttemptState
    code: str
    delay_s: float = 0.0
    spends_retry: bool = False
    failure_class: str | None = None
    evidence: Evidence | None = None
    remedy: str | None = None
    summary: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    remedied: Remedied | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """How an earlier attempt of the same step failed, as it is on record: `said` is its summary."""

    number: int
    code: str
    said: str


def judge(
    outcome: Outcome,
    *,
    stop_reason: str | None,
    cancel_requested: bool,
    retries: int,
    max_retries: int,
    retry_delay_s: float,
    jitter: float,
    remedied: Remedied | None = None,
    earlier: Earlier | None = None,
) -> Verdict:
    """The verdict on a finished attempt.

    `retries` is what the step has spent so far, `jitter` a random number in [0, 1). A stop by qmrunner itself spends
    no retry; an engine failure is tried again as it is only when the same run may well succeed (class transient), and
    else once more with what a remedy changed. `earlier` is the newest attempt before that failed: a failure that says
    the same is deterministic, and the step never runs as it is a third time.
    """
    common: dict[str, Any] = {
        "code": outcome.code,
        "failure_class": outcome.failure_class,
        "evidence": outcome.evidence,
        "remedy": outcome.remedy,
        "summary": outcome.summary,
        "result": outcome.result,
    }
    if outcome.state == "succeeded":
        return Verdict("succeed", AttemptState.SUCCEEDED, **common)
    if cancel_requested or stop_reason == "cancel":
        return cancelled()
    if outcome.state == "stopped" and stop_reason is not None and stop_reason != "hung":
        why = space.REASONS.get(stop_reason)
        said = f"stopped for {stop_reason}" + (f": {why}" if why else "")
        return Verdict("requeue", AttemptState.STOPPED, "stopped", summary=f"{said}; will go on")
    again = earlier is not None and same_failure(outcome, earlier)
    if earlier is not None and again and outcome.failure_class == "transient":
        common["summary"] = f"{outcome.summary}{SAME_AGAIN}{earlier.number}, so it is not tried again as it is"
    elif outcome.failure_class == "transient" and retries < max_retries:
        delay = retry_delay(retries, retry_delay_s, jitter)
        return Verdict("requeue", AttemptState.FAILED, delay_s=delay, spends_retry=True, **common)
    if remedied is not None:
        move = "fail" if remedied.instead else "requeue"
        return Verdict(move, AttemptState.FAILED, remedied=remedied, **common)
    return Verdict("fail", AttemptState.FAILED, **common)


def same_failure(outcome: Outcome, earlier: Earlier) -> bool:
    """Whether an attempt failed as an earlier one did: with the same code and, but for what differs between two runs of
    the same, the same words."""
    if outcome.code != earlier.code or outcome.code in _FROM_OUTSIDE or not outcome.summary:
        return False
    return _constant(outcome.summary) == _constant(earlier.said)


def _constant(said: str) -> str:
    return " ".join(_VARIES.sub("#", said.partition(SAME_AGAIN)[0]).split())


def cancelled() -> Verdict:
    return Verdict("cancel", AttemptState.CANCELLED, "cancelled", summary="cancelled by request")


def put_off(code: str, what: str) -> Verdict:
    """The verdict on an attempt that could not begin for want of `what`, which will be back: not the step's fault."""
    return Verdict("requeue", AttemptState.STOPPED, code, delay_s=PUT_OFF_S, summary=f"{what}; will be tried again")


def wait_for_same(other: str) -> Verdict:
    """The verdict on an attempt that did not begin, because the step `other` is computing the very same: ready, but not
    to be claimed until that one has ended, in whichever way."""
    return Verdict("requeue", AttemptState.STOPPED, SAME_RUNNING, summary=f"{other}, which computes the same")


def retry_delay(retries: int, base_s: float, jitter: float) -> float:
    """Exponential with up to 25 % of jitter, capped. Seconds."""
    bounded: float = min(base_s * 2.0 ** min(retries, 30), RETRY_DELAY_CAP_S)
    return bounded * (1.0 + 0.25 * jitter)


def lost(deaths_in_window: int, what: str, poison_deaths: int) -> Verdict:
    """The verdict on an attempt whose owner was proven dead. `deaths_in_window` counts this one.

    A step that takes its worker down `poison_deaths` times is held for a person to look at.
    """
    if what in _HELD_AGAINST and deaths_in_window >= poison_deaths:
        return Verdict(
            "hold",
            AttemptState.LOST,
            "poison",
            failure_class="operator",
            summary=f"this step took its {what} down {deaths_in_window} times",
            remedy="look at the log and the machine's memory, then `qmrunner release JOB` or `qmrunner cancel JOB`",
        )
    return Verdict("requeue", AttemptState.LOST, f"{what}_lost", summary=f"its {what} died; will go on")
