"""A worker that was stopped for a while (SIGSTOP, a frozen cgroup) does not take a kill meanwhile for a failure."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from qmrunner.attempt.interpret import SUSPENDED, after_suspension
from qmrunner.model import policy
from qmrunner.model.jobs import Exit, Outcome

KILLED = Outcome("failed", "killed", failure_class="transient", summary="killed by signal 9")


def attempt(thawed_s_ago: float | None) -> Any:
    return SimpleNamespace(thawed_at=None if thawed_s_ago is None else time.monotonic() - thawed_s_ago)


def test_a_kill_met_on_continuing_spends_no_retry() -> None:
    outcome, reason = after_suspension(attempt(0.1), Exit(None, 9), KILLED)
    assert (outcome.state, reason) == ("stopped", SUSPENDED)
    verdict = policy.decide(policy.Finished(outcome, reason), policy.History(), policy.Limits(2, 1.0, 3))
    assert (verdict.move, verdict.spends_retry) == ("requeue", False)
    assert verdict.summary == "stopped for a suspension of its worker; will resume"


@pytest.mark.parametrize(
    ("thawed_s_ago", "exit", "outcome"),
    [
        (None, Exit(None, 9), KILLED),  # never stopped
        (600.0, Exit(None, 9), KILLED),  # long ago
        (0.1, Exit(None, 9), Outcome("failed", "oom_killed", failure_class="resource")),
        (0.1, Exit(1), Outcome("failed", "input_error", failure_class="permanent")),
        (0.1, Exit(0), Outcome("succeeded", "ok")),
        (0.1, Exit(None, 9, stop_reason="drain"), Outcome("stopped", "stopped")),
    ],
)
def test_anything_else_keeps_its_outcome(thawed_s_ago: float | None, exit: Exit, outcome: Outcome) -> None:
    assert after_suspension(attempt(thawed_s_ago), exit, outcome) == (outcome, exit.stop_reason)
