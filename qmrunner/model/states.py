"""The two state machines: jobs and steps.

States are adjectives, moves are verbs. A move is legal if it is in the table; the store makes each move one
guarded UPDATE that names the states it may come from and, from `claimed` on, the attempt number. The comment on each
state names the part of the program that moves a job or step out of it.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"  # accepted; the first claim of one of its steps moves it on
    RUNNING = "running"  # at least one step was started; the workflow moves it on
    HELD = "held"  # waits for an operator: `release` or `cancel`; a step that was still running may end it
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # `retry` moves it back
    CANCELLED = "cancelled"  # `retry` moves it back


class StepState(StrEnum):
    WAITING = "waiting"  # earlier steps have not ended; their commit moves it on
    READY = "ready"  # may be claimed once `not_before` has passed; a worker moves it on
    CLAIMED = "claimed"  # an attempt owns it and prepares; that attempt moves it on
    RUNNING = "running"  # the engine runs; that attempt moves it on, or a sweep that proved it dead
    HELD = "held"  # waits for an operator: `release` or `cancel`
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # `retry` moves it back
    CANCELLED = "cancelled"  # `retry` moves it back
    SKIPPED = "skipped"  # the workflow does not need it; `retry` of the job moves it back


class AttemptState(StrEnum):
    CLAIMED = "claimed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"  # drained, restarted or preempted: spends no retry
    LOST = "lost"  # its owner is proven dead, or its lease expired
    CANCELLED = "cancelled"


JOB_MOVES: dict[str, tuple[frozenset[JobState], JobState]] = {
    "start": (frozenset({JobState.QUEUED}), JobState.RUNNING),
    # Also from `held`: running steps of a held job run to their end, and that may end the job.
    "succeed": (frozenset({JobState.QUEUED, JobState.RUNNING, JobState.HELD}), JobState.SUCCEEDED),
    "fail": (frozenset({JobState.QUEUED, JobState.RUNNING, JobState.HELD}), JobState.FAILED),
    "cancel": (frozenset({JobState.QUEUED, JobState.RUNNING, JobState.HELD}), JobState.CANCELLED),
    "hold": (frozenset({JobState.QUEUED, JobState.RUNNING}), JobState.HELD),
    "release": (frozenset({JobState.HELD}), JobState.QUEUED),
    "retry": (frozenset({JobState.FAILED, JobState.CANCELLED}), JobState.QUEUED),
}

STEP_MOVES: dict[str, tuple[frozenset[StepState], StepState]] = {
    "ready": (frozenset({StepState.WAITING}), StepState.READY),
    "skip": (frozenset({StepState.WAITING, StepState.READY}), StepState.SKIPPED),
    "claim": (frozenset({StepState.READY}), StepState.CLAIMED),
    "start": (frozenset({StepState.CLAIMED}), StepState.RUNNING),
    "succeed": (frozenset({StepState.CLAIMED, StepState.RUNNING}), StepState.SUCCEEDED),
    "fail": (frozenset({StepState.CLAIMED, StepState.RUNNING}), StepState.FAILED),
    "requeue": (frozenset({StepState.CLAIMED, StepState.RUNNING}), StepState.READY),
    "hold": (frozenset({StepState.READY, StepState.CLAIMED, StepState.RUNNING}), StepState.HELD),
    "release": (frozenset({StepState.HELD}), StepState.READY),
    "cancel": (
        frozenset({StepState.WAITING, StepState.READY, StepState.CLAIMED, StepState.RUNNING, StepState.HELD}),
        StepState.CANCELLED,
    ),
    "retry": (frozenset({StepState.FAILED, StepState.CANCELLED, StepState.HELD}), StepState.READY),
    "rewait": (frozenset({StepState.CANCELLED, StepState.SKIPPED}), StepState.WAITING),
}

JOB_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
STEP_FINAL = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED})
STEP_LIVE = frozenset({StepState.CLAIMED, StepState.RUNNING})
ATTEMPT_LIVE = frozenset({AttemptState.CLAIMED, AttemptState.RUNNING})
