"""On a store that several machines share, the outcome of an attempt that lost its step is not reported."""

from __future__ import annotations

import psycopg
import pytest

from tests.apps.conftest import CONSUMER, Lab
from tests.support import wait_for


@pytest.mark.slow
def test_the_outcome_of_an_attempt_that_lost_its_step_is_not_reported(lab: Lab, postgres_database: str) -> None:
    huey_id = lab.enqueue("tasks.optimise('late', 15)")
    added = lab.enqueue("tasks.add(1, 2)")
    # Heartbeats would find the loss, too, but later.
    settings = {"QMRUNNER_STORE_URL": postgres_database, "QMRUNNER_HEARTBEAT_SECONDS": "60"}
    lab.start((*CONSUMER[:4], "-w", "2", "-k", "process"), QMRUNNER_LEASE_SECONDS="300", **settings)
    assert lab.await_result(added) == 3
    wait_for(lambda: lab.lines("late"), 30.0, "the body")
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        # As if another worker had taken it. A start that is not recorded yet would find the loss at once.
        taken = "update steps set attempt = attempt + 1 where state = 'running'"
        wait_for(lambda: connection.execute(taken).rowcount == 1, 20.0, "the start of the step")
    wait_for(lambda: len(lab.lines("late")) == 2, 40.0, "the end of the body")
    wait_for(lambda: not lab.pids("qm-task"), 20.0, "the end of its process")
    assert (lab.states("late"), lab.result(huey_id)) == (["running"], None)
