"""Every pair of state and move, against the table as written here: a change of the table must be made twice."""

from __future__ import annotations

import pytest

from qmrunner.model.states import (
    ATTEMPT_LIVE,
    JOB_FINAL,
    JOB_MOVES,
    STEP_FINAL,
    STEP_LIVE,
    STEP_MOVES,
    AttemptState,
    JobState,
    StepState,
)

JOBS = {
    ("queued", "start"): "running",
    ("queued", "succeed"): "succeeded",
    ("queued", "fail"): "failed",
    ("queued", "cancel"): "cancelled",
    ("queued", "hold"): "held",
    ("running", "succeed"): "succeeded",
    ("running", "fail"): "failed",
    ("running", "cancel"): "cancelled",
    ("running", "hold"): "held",
    ("held", "succeed"): "succeeded",
    ("held", "fail"): "failed",
    ("held", "cancel"): "cancelled",
    ("held", "release"): "queued",
    ("failed", "retry"): "queued",
    ("cancelled", "retry"): "queued",
}
STEPS = {
    ("waiting", "ready"): "ready",
    ("waiting", "skip"): "skipped",
    ("waiting", "cancel"): "cancelled",
    ("ready", "claim"): "claimed",
    ("ready", "skip"): "skipped",
    ("ready", "hold"): "held",
    ("ready", "cancel"): "cancelled",
    ("claimed", "start"): "running",
    ("claimed", "succeed"): "succeeded",
    ("claimed", "fail"): "failed",
    ("claimed", "requeue"): "ready",
    ("claimed", "hold"): "held",
    ("claimed", "cancel"): "cancelled",
    ("running", "succeed"): "succeeded",
    ("running", "fail"): "failed",
    ("running", "requeue"): "ready",
    ("running", "hold"): "held",
    ("running", "cancel"): "cancelled",
    ("held", "release"): "ready",
    ("held", "retry"): "ready",
    ("held", "cancel"): "cancelled",
    ("failed", "retry"): "ready",
    ("cancelled", "retry"): "ready",
    ("cancelled", "rewait"): "waiting",
    ("skipped", "rewait"): "waiting",
}


@pytest.mark.parametrize("move", JOB_MOVES)
@pytest.mark.parametrize("state", JobState)
def test_a_job_makes_exactly_the_moves_of_the_table(state: JobState, move: str) -> None:
    sources, target = JOB_MOVES[move]
    assert (target if state in sources else None) == JOBS.get((state, move))


@pytest.mark.parametrize("move", STEP_MOVES)
@pytest.mark.parametrize("state", StepState)
def test_a_step_makes_exactly_the_moves_of_the_table(state: StepState, move: str) -> None:
    sources, target = STEP_MOVES[move]
    assert (target if state in sources else None) == STEPS.get((state, move))


def test_the_tables_here_name_no_move_that_the_program_lacks() -> None:
    assert {move for _, move in JOBS} == set(JOB_MOVES)
    assert {move for _, move in STEPS} == set(STEP_MOVES)


def test_final_states_are_left_only_when_a_person_asks_for_a_retry() -> None:
    assert {"succeeded", "failed", "cancelled"} == JOB_FINAL
    assert {"succeeded", "failed", "cancelled", "skipped"} == STEP_FINAL
    assert {move for (state, move) in JOBS if state in JOB_FINAL} == {"retry"}
    assert {move for (state, move) in STEPS if state in STEP_FINAL} == {"retry", "rewait"}


def test_nothing_leaves_success() -> None:
    assert not [move for (state, move) in [*JOBS, *STEPS] if state == "succeeded"]


def test_an_attempt_owns_its_step_exactly_while_it_is_claimed_or_running() -> None:
    assert {"claimed", "running"} == STEP_LIVE == ATTEMPT_LIVE
    assert not STEP_LIVE & STEP_FINAL


def test_every_state_can_be_reached_and_every_unfinished_one_left() -> None:
    assert set(JOBS.values()) | {"queued"} == set(JobState)
    assert set(STEPS.values()) | {"waiting"} == set(StepState)
    assert {state for state, _ in JOBS} >= set(JobState) - JOB_FINAL
    assert {state for state, _ in STEPS} >= set(StepState) - STEP_FINAL


def test_an_attempt_ends_in_one_of_five_ways() -> None:
    assert set(AttemptState) - ATTEMPT_LIVE == {"succeeded", "failed", "stopped", "lost", "cancelled"}
