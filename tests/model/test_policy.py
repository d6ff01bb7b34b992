"""What becomes of an outcome."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model import policy
from qmrunner.model.jobs import Evidence, Outcome
from qmrunner.model.policy import Deferred, Earlier, Ending, Finished, History, Limits, Lost, Verdict
from qmrunner.model.states import STEP_LIVE, STEP_MOVES, AttemptState

FAILED = Outcome(
    "failed", "scf_not_converged", failure_class="method", evidence=Evidence("no", "a.log", 3), remedy="fix"
)
CRASHED = Outcome("failed", "crash", failure_class="transient")
STOPPED = Outcome("stopped", "terminated", failure_class="transient")


def judged(outcome: Outcome, stop_reason: str | None = None, max_retries: int = 2, **history: Any) -> Verdict:
    limits = Limits(max_retries, retry_delay_s=5.0, poison_deaths=3)
    return policy.decide(Finished(outcome, stop_reason), History(**history), limits)


def lost(deaths: int, owner: str, poison_deaths: int, cancel_requested: bool = False) -> Verdict:
    """The verdict when this is the `deaths`-th death."""
    history = History(cancel_requested, deaths=deaths - 1)
    return policy.decide(Lost(owner), history, Limits(2, 5.0, poison_deaths))


def test_a_success_is_recorded_with_its_result() -> None:
    got = judged(Outcome("succeeded", "ok", {"energy_hartree": -1.5}))
    assert (got.move, got.attempt_state, got.result) == ("succeed", AttemptState.SUCCEEDED, {"energy_hartree": -1.5})


def test_a_success_counts_even_when_a_cancellation_or_a_stop_came_too_late() -> None:
    assert judged(Outcome("succeeded", "ok"), cancel_requested=True).move == "succeed"
    assert judged(Outcome("succeeded", "ok"), stop_reason="drain").move == "succeed"


def test_a_failure_of_the_method_is_final_and_keeps_code_evidence_and_remedy() -> None:
    got = judged(FAILED)
    assert (got.move, got.attempt_state, got.code) == ("fail", AttemptState.FAILED, "scf_not_converged")
    assert (got.failure_class, got.evidence, got.remedy) == ("method", FAILED.evidence, "fix")
    assert not got.spends_retry


@pytest.mark.parametrize("kind", ["resource", "method", "permanent", "operator", None])
def test_only_transient_failures_are_tried_again(kind: Any) -> None:
    assert judged(Outcome("failed", "x", failure_class=kind)).move == "fail"


def test_a_transient_failure_is_tried_again_until_the_retries_are_spent() -> None:
    moves = [(judged(CRASHED, retries=n).move, judged(CRASHED, retries=n).spends_retry) for n in range(4)]
    assert moves == [("requeue", True), ("requeue", True), ("fail", False), ("fail", False)]
    assert judged(CRASHED, max_retries=0).move == "fail"


@pytest.mark.parametrize("reason", ["drain", "fenced", "abandoned"])
def test_a_stop_by_qmrunner_spends_no_retry_and_waits_for_nothing(reason: str) -> None:
    got = judged(STOPPED, stop_reason=reason, retries=2)
    assert (got.move, got.attempt_state, got.spends_retry, got.delay_s) == ("requeue", AttemptState.STOPPED, False, 0.0)
    assert reason in (got.summary or "")


def test_a_hang_is_a_failure_that_is_tried_again_and_spends_a_retry() -> None:
    assert judged(STOPPED, stop_reason="hung").spends_retry
    assert judged(STOPPED, stop_reason="hung", retries=2).move == "fail"


def test_a_stop_from_outside_that_qmrunner_did_not_request_spends_a_retry() -> None:
    assert judged(STOPPED).spends_retry


@pytest.mark.parametrize("outcome", [FAILED, CRASHED, STOPPED])
def test_a_cancelled_attempt_is_never_tried_again_nor_called_a_failure(outcome: Outcome) -> None:
    for more in (
        {"cancel_requested": True},
        {"stop_reason": "cancel"},
        {"cancel_requested": True, "stop_reason": "drain"},
    ):
        got = judged(outcome, **more)
        assert (got.move, got.attempt_state, got.code) == ("cancel", AttemptState.CANCELLED, "cancelled")


@pytest.mark.parametrize(
    "ending",
    [
        *(Finished(outcome) for outcome in (FAILED, CRASHED, STOPPED)),
        Finished(STOPPED, "drain"),
        policy.defer("store_unavailable", "the store"),
        policy.wait_for_same("j2/xtb"),
        Deferred("x", "y"),
        *(Lost(owner) for owner in ("guardian", "worker", "machine", "claim")),
    ],
)
def test_a_cancel_request_beats_every_ending_but_success(ending: Ending) -> None:
    for deaths in (0, 99):
        got = policy.decide(ending, History(cancel_requested=True, deaths=deaths), Limits(2, 5.0, 3))
        assert (got.move, got.attempt_state) == ("cancel", AttemptState.CANCELLED)
        plain = policy.decide(ending, History(deaths=deaths), Limits(2, 5.0, 3))
        assert plain.move != "cancel"


def test_a_lost_attempt_continues_without_spending_a_retry_until_it_has_killed_three_times() -> None:
    first, second, third = (lost(n, "guardian", 3) for n in (1, 2, 3))
    assert (first.move, first.attempt_state, first.code) == ("requeue", AttemptState.LOST, "guardian_lost")
    assert not first.spends_retry
    assert second.move == "requeue"
    assert (third.move, third.code, third.failure_class) == ("hold", "poison", "operator")
    assert "3 times" in (third.summary or "")
    assert "release" in (third.remedy or "")


def failed_with(code: str, said: str | None, kind: Any = "transient") -> Outcome:
    evidence = Evidence(said, "a.log", 7) if said else None
    return Outcome("failed", code, failure_class=kind, evidence=evidence, remedy="fix", summary=said)


def test_a_failure_with_the_message_of_an_earlier_one_is_never_tried_a_third_time() -> None:
    got = judged(
        failed_with("unknown", "odd: 3 of 4"), retries=1, max_retries=9, earlier=Earlier(1, "unknown", "odd: 3 of 4")
    )
    assert (got.move, got.code, got.failure_class, got.spends_retry) == ("fail", "unknown", "transient", False)
    assert "the same as in attempt 1" in (got.summary or "")
    assert (got.summary or "").startswith("odd: 3 of 4")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("[node7:4711] *** Process received signal ***", "[node7:52] *** Process received signal ***"),
        ("process rank 1 with PID 30211 on node n", "process rank 0 with PID 7 on node n"),
        ("at 0x7ffc01a2 in dgemm", "at 0x55d0beef in dgemm"),
        ("died at 12:30:05 after 3.5 s", "died at 01:02:59.123 after 12.25 s"),
        ("cannot read /scratch/j/xtb/1/charges", "cannot read /scratch/j/xtb/2/charges"),
        ("started 123 j/xtb/1", "started 77 j/xtb/2"),
        ("two   blanks", "two blanks"),
        ("odd", "odd; the same as in attempt 1, so it is not retried unchanged"),
    ],
)
def test_what_differs_between_two_runs_of_the_same_makes_no_difference(before: str, now: str) -> None:
    for one, other in ((before, now), (now, before)):
        assert judged(failed_with("crashed", other), earlier=Earlier(1, "crashed", one)).move == "fail"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (Earlier(1, "crashed", "odd"), failed_with("unknown", "odd")),
        (Earlier(1, "crashed", "odd"), failed_with("crashed", "even")),
        (Earlier(1, "crashed", "d= 0,diis 3 -76.31"), failed_with("crashed", "d= 0,diis 3 -76.42")),
        (Earlier(1, "crashed", "odd"), failed_with("crashed", None)),
        (None, failed_with("crashed", "odd")),
    ],
)
def test_another_failure_is_tried_again(before: Earlier | None, now: Outcome) -> None:
    got = judged(now, retries=1, earlier=before)
    assert (got.move, got.spends_retry) == ("requeue", True)


@pytest.mark.parametrize(
    "code", ["killed", "terminated", "interrupted", "timed_out", "time_limit_reached", "hung", "attempt_folder_lost"]
)
def test_an_end_from_outside_predicts_nothing_about_the_next_run(code: str) -> None:
    assert judged(failed_with(code, "ended"), retries=1, earlier=Earlier(1, code, "ended")).move == "requeue"


@given(
    said=st.text(min_size=1, max_size=60),
    kind=st.sampled_from(["transient", "resource", "method", "permanent", "operator"]),
    retries=st.integers(0, 5),
)
def test_the_same_words_twice_never_make_a_third_run_whatever_the_class(said: str, kind: Any, retries: int) -> None:
    outcome = failed_with("crashed", said, kind)
    assert judged(outcome, retries=retries, max_retries=100, earlier=Earlier(1, "crashed", said)).move == "fail"


@given(
    state=st.sampled_from(["succeeded", "failed", "stopped"]),
    kind=st.sampled_from(["transient", "resource", "method", "permanent", "operator", None]),
    reason=st.sampled_from([None, "drain", "cancel", "fenced", "abandoned", "hung"]),
    cancel=st.booleans(),
    retries=st.integers(0, 5),
)
def test_every_verdict_is_a_legal_move_of_a_running_step(
    state: Any, kind: Any, reason: Any, cancel: Any, retries: Any
) -> None:
    got = judged(Outcome(state, "x", failure_class=kind), stop_reason=reason, cancel_requested=cancel, retries=retries)
    sources, _ = STEP_MOVES[got.move]
    assert sources >= STEP_LIVE
    assert got.attempt_state not in ("claimed", "running")
    assert (got.delay_s > 0) == got.spends_retry


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_delay_doubles_up_to_its_cap_with_at_most_a_quarter_of_jitter(
    retries: int, base: float, jitter: float
) -> None:
    plain = policy.retry_delay(retries, base, 0.0)
    assert plain == min(base * 2.0 ** min(retries, 30), policy.RETRY_DELAY_CAP_S)
    assert plain <= policy.retry_delay(retries, base, jitter) <= 1.25 * plain
    assert plain <= policy.retry_delay(retries + 1, base, 0.0) <= policy.RETRY_DELAY_CAP_S


def test_a_reboot_or_a_death_before_the_engine_began_is_never_held_against_a_step() -> None:
    for what in ("machine", "claim"):
        assert lost(99, what, 3).move == "requeue"
