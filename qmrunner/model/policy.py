"""What to do with an outcome: retry, change and retry, give up, hold, requeue. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qmrunner.model import disk_space
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
    """How an earlier attempt of the same step failed, as recorded."""

    number: int
    code: str
    summary: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The engine ended, or could not start: what that attempt came to.

    `stop_reason` is why qmrunner asked for the end, if it did; `remedied` what a remedy would change for the next one.
    `began`: a guardian was forked. Only then do equal words of two attempts prove that a failure is deterministic.
    """

    outcome: Outcome
    stop_reason: str | None = None
    began: bool = True
    remedied: Remedied | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The attempt did not begin, through no fault of the step: it will be claimed again."""

    code: str
    summary: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The guardian, worker, machine or claim that carried the attempt is gone, and no process of it is left."""

    owner: str


# Every way in which an attempt can end.
Ending = Finished | Deferred | Lost


@dataclass(frozen=True, slots=True)
class History:
    """What the store knows of the step at the moment in which its attempt ends.

    `retries` the step has spent so far. `deaths` within POISON_WINDOW_S took its guardian or worker down, this one not
    counted. `earlier` is the newest attempt before that failed: a failure with the same words is deterministic.
    """

    cancel_requested: bool = False
    retries: int = 0
    deaths: int = 0
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is tried again. `jitter` is a random number in [0, 1)."""

    max_retries: int
    retry_delay_s: float
    poison_deaths: int
    jitter: float = 0.0


def decide(ending: Ending, history: History, limits: Limits) -> Verdict:
    """The verdict on an attempt that has ended. A cancel request beats everything but success."""
    if isinstance(ending, Finished) and ending.outcome.state == "succeeded":
        return _of_outcome("succeed", AttemptState.SUCCEEDED, ending.outcome)
    if history.cancel_requested or (isinstance(ending, Finished) and ending.stop_reason == "cancel"):
        return Verdict("cancel", AttemptState.CANCELLED, "cancelled", summary="cancelled by request")
    if isinstance(ending, Deferred):
        return Verdict("requeue", AttemptState.STOPPED, ending.code, delay_s=ending.delay_s, summary=ending.summary)
    if isinstance(ending, Lost):
        return _lost(ending.owner, history.deaths + 1, limits.poison_deaths)
    return _failed(ending, history, limits)


def _failed(ending: Finished, history: History, limits: Limits) -> Verdict:
    """A stop by qmrunner itself spends no retry. An engine failure is tried again as it is only when the same run may
    well succeed (class transient), else once more with what a remedy changed; the step never runs unchanged a third
    time when two attempts failed with the same words."""
    outcome, stop_reason, earlier = ending.outcome, ending.stop_reason, history.earlier
    if outcome.state == "stopped" and stop_reason is not None and stop_reason != "hung":
        why = disk_space.REASONS.get(stop_reason)
        said = f"stopped for {stop_reason}" + (f": {why}" if why else "")
        return Verdict("requeue", AttemptState.STOPPED, "stopped", summary=f"{said}; will go on")
    if outcome.failure_class == "transient":
        if earlier is not None and same_failure(outcome, earlier):
            told = f"{outcome.summary}{SAME_AGAIN}{earlier.number}, so it is not tried again as it is"
            outcome = replace(outcome, summary=told)
        elif history.retries < limits.max_retries:
            delay = retry_delay(history.retries, limits.retry_delay_s, limits.jitter)
            return _of_outcome("requeue", AttemptState.FAILED, outcome, delay_s=delay, spends_retry=True)
    if ending.remedied is not None:
        move = "fail" if ending.remedied.instead else "requeue"
        return _of_outcome(move, AttemptState.FAILED, outcome, remedied=ending.remedied)
    return _of_outcome("fail", AttemptState.FAILED, outcome)


def _of_outcome(move: str, state: AttemptState, outcome: Outcome, **more: Any) -> Verdict:
    return Verdict(
        move,
        state,
        outcome.code,
        failure_class=outcome.failure_class,
        evidence=outcome.evidence,
        remedy=outcome.remedy,
        summary=outcome.summary,
        result=outcome.result,
        **more,
    )


def same_failure(outcome: Outcome, earlier: Earlier) -> bool:
    """Whether an attempt failed as an earlier one did: with the same code and, but for what differs between two runs of
    the same, the same words."""
    if outcome.code != earlier.code or outcome.code in _FROM_OUTSIDE or not outcome.summary:
        return False
    return _constant(outcome.summary) == _constant(earlier.summary)


def _constant(said: str) -> str:
    return " ".join(_VARIES.sub("#", said.partition(SAME_AGAIN)[0]).split())


def put_off(code: str, what: str) -> Deferred:
    """The ending of an attempt that could not begin because `what` is missing, which will be back."""
    return Deferred(code, f"{what}; will be tried again", PUT_OFF_S)


def wait_for_same(other: str) -> Deferred:
    """The ending of an attempt that did not begin because the step `other` computes the very same: the step is ready,
    but is not claimed until that one has ended, in whichever way."""
    return Deferred(SAME_RUNNING, f"{other}, which computes the same")


def retry_delay(retries: int, base_s: float, jitter: float) -> float:
    """Exponential with up to 25 % of jitter, capped. Seconds."""
    bounded: float = min(base_s * 2.0 ** min(retries, 30), RETRY_DELAY_CAP_S)
    return bounded * (1.0 + 0.25 * jitter)


def _lost(owner: str, deaths: int, poison_deaths: int) -> Verdict:
    """A step that takes its guardian or worker down `poison_deaths` times is held for a person to look at."""
    if owner in _HELD_AGAINST and deaths >= poison_deaths:
        return Verdict(
            "hold",
            AttemptState.LOST,
            "poison",
            failure_class="operator",
            summary=f"this step took its {owner} down {deaths} times",
            remedy="look at the log and the machine's memory, then `qmrunner release JOB` or `qmrunner cancel JOB`",
        )
    return Verdict("requeue", AttemptState.LOST, f"{owner}_lost", summary=f"its {owner} died; will go on")
