"""What to do with an outcome: retry, change and retry, give up, hold, requeue. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qmrunner.model import disk_space
from qmrunner.model.jobs import Evidence, Outcome
from qmrunner.model.remedies import Adjusted
from qmrunner.model.states import AttemptState

RETRY_DELAY_CAP_S = 600.0
PUT_OFF_S = 5.0
SAME_RUNNING = "same_running"
# A reboot, or a death before the engine started, does not count against the step.
_HELD_AGAINST = ("guardian", "worker")
# Failures with a cause outside the run. They do not predict how the next attempt ends.
_FROM_OUTSIDE = frozenset(
    {"killed", "terminated", "interrupted", "timed_out", "time_limit_reached", "hung", "attempt_folder_lost"}
)
SAME_AGAIN = "; the same as in attempt "
# What differs between two runs of the same step: addresses, folders, times of day, durations, whole numbers (of
# processes, ranks, attempts). Numbers with a decimal point are results, and stay.
_VARIES = re.compile(
    r"0x[0-9a-fA-F]+|(?:/[^\s/:'\"()]+)+/|(?<!\w)\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?!\d)"
    r"|(?<!\d)\d++(?:\.\d++)?(?= ?(?:s|ms|sec|seconds|min)\b)|(?<=\.)\d+(?=\.log\b)|(?<![\d.])\d+(?!\d|\.\d)"
)
# Deaths of a step's guardian or worker are counted within this window.
POISON_WINDOW_S = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one move that ends an attempt, and everything that is recorded with it.

    `move` is a step move of `states.STEP_MOVES`. `delay_s` keeps a requeued step from being claimed at once. `adjusted`
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
    adjusted: Adjusted | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """How an earlier attempt of the same step failed, as recorded."""

    number: int
    code: str
    summary: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The engine ended, or could not start: the outcome of the attempt.

    `stop_reason` is why qmrunner stopped the attempt, if it did; `adjusted` is the step as a remedy would change it.
    `began`: a guardian was forked. Only then do equal summaries of two attempts prove that a failure is deterministic.
    """

    outcome: Outcome
    stop_reason: str | None = None
    began: bool = True
    adjusted: Adjusted | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The attempt did not begin, for a reason outside the step: the step will be claimed again."""

    code: str
    summary: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The `owner` of the attempt (guardian, worker, machine or claim) is gone, and no process of the attempt is
    left."""

    owner: str


# Every way in which an attempt can end.
Ending = Finished | Deferred | Lost


@dataclass(frozen=True, slots=True)
class History:
    """What the store knows about the step when its attempt ends.

    `retries` the step has spent so far. `deaths` within POISON_WINDOW_S ended its guardian or worker, not counting this
    one. `earlier` is the newest failed attempt before this one: the same failure twice is deterministic.
    """

    cancel_requested: bool = False
    retries: int = 0
    deaths: int = 0
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of retrying. `jitter` is a random number in [0, 1)."""

    max_retries: int
    retry_delay_s: float
    poison_deaths: int
    jitter: float = 0.0


def decide(ending: Ending, history: History, limits: Limits) -> Verdict:
    """The verdict on an attempt that has ended. A cancel request beats everything but success."""
    if isinstance(ending, Finished) and ending.outcome.state == "succeeded":
        return _of_outcome("succeed", AttemptState.SUCCEEDED, ending.outcome)
    if history.cancel_requested or (isinstance(ending, Finished) and ending.stop_reason == "cancel"):
        # An end that the application has seen keeps its result: it is not reported again.
        seen = ending.outcome.result if isinstance(ending, Finished) and ending.outcome.reported else {}
        return Verdict("cancel", AttemptState.CANCELLED, "cancelled", summary="cancelled by request", result=seen)
    if isinstance(ending, Deferred):
        return Verdict("requeue", AttemptState.STOPPED, ending.code, delay_s=ending.delay_s, summary=ending.summary)
    if isinstance(ending, Lost):
        return _lost(ending.owner, history.deaths + 1, limits.poison_deaths)
    return _failed(ending, history, limits)


def _failed(ending: Finished, history: History, limits: Limits) -> Verdict:
    """A stop by qmrunner itself spends no retry. An engine failure is retried unchanged only if the same run may
    succeed (class transient), else with the change of a remedy. After two attempts with the same failure the step never
    runs unchanged a third time."""
    outcome, stop_reason, earlier = ending.outcome, ending.stop_reason, history.earlier
    if outcome.state == "stopped" and stop_reason is not None and stop_reason != "hung":
        why = disk_space.REASONS.get(stop_reason)
        summary = f"stopped for {stop_reason}" + (f": {why}" if why else "")
        return Verdict("requeue", AttemptState.STOPPED, "stopped", summary=f"{summary}; will resume")
    if outcome.failure_class == "transient":
        if earlier is not None and same_failure(outcome, earlier):
            summary = f"{outcome.summary}{SAME_AGAIN}{earlier.number}, so it is not retried unchanged"
            outcome = replace(outcome, summary=summary)
        elif history.retries < limits.max_retries:
            delay = retry_delay(history.retries, limits.retry_delay_s, limits.jitter)
            return _of_outcome("requeue", AttemptState.FAILED, outcome, delay_s=delay, spends_retry=True)
    if ending.adjusted is not None:
        move = "fail" if ending.adjusted.instead else "requeue"
        return _of_outcome(move, AttemptState.FAILED, outcome, adjusted=ending.adjusted)
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
    """Whether an attempt failed as an earlier one did: with the same code and, apart from parts that always differ
    between two runs (see `_VARIES`), the same summary."""
    if outcome.code != earlier.code or outcome.code in _FROM_OUTSIDE or not outcome.summary:
        return False
    return _constant(outcome.summary) == _constant(earlier.summary)


def _constant(summary: str) -> str:
    return " ".join(_VARIES.sub("#", summary.partition(SAME_AGAIN)[0]).split())


def defer(code: str, what: str) -> Deferred:
    """The ending of an attempt that could not begin because `what` is missing for now."""
    return Deferred(code, f"{what}; will be tried again", PUT_OFF_S)


def wait_for_same(other: str) -> Deferred:
    """The ending of an attempt that did not begin because the step `other` computes the same: the step stays ready, but
    is not claimed until the other one has ended."""
    return Deferred(SAME_RUNNING, f"{other}, which computes the same")


def retry_delay(retries: int, base_s: float, jitter: float) -> float:
    """Exponential with up to 25 % of jitter, capped. Seconds."""
    bounded: float = min(base_s * 2.0 ** min(retries, 30), RETRY_DELAY_CAP_S)
    return bounded * (1.0 + 0.25 * jitter)


def _lost(owner: str, deaths: int, poison_deaths: int) -> Verdict:
    """A step whose guardian or worker died `poison_deaths` times is held for an operator."""
    if owner in _HELD_AGAINST and deaths >= poison_deaths:
        return Verdict(
            "hold",
            AttemptState.LOST,
            "poison",
            failure_class="operator",
            summary=f"its {owner} died {deaths} times during this step",
            remedy="check the log and the machine's memory, then `qmrunner release JOB` or `qmrunner cancel JOB`",
        )
    return Verdict("requeue", AttemptState.LOST, f"{owner}_lost", summary=f"its {owner} died; will resume")
