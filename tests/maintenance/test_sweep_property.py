"""Whatever happened to its attempts, a sweep leaves every live and every resumable directory alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmrunner import maintenance
from qmrunner.maintenance import scratch
from qmrunner.model.states import AttemptState
from qmrunner.store import jobs as job_store
from qmrunner.store.claims import Claim
from tests.maintenance.test_sweeps import World
from tests.support import Home

# How an attempt ends, or that the sweep comes by while it runs.
ACTS = st.sampled_from(["requeue", "requeue", "fail", "succeed", "sweep", "sweep later"])
RETENTION_DAYS, RESUMABLE = 7, 2


@pytest.fixture
def world(home: Home) -> World:
    return World(home)


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, min_size=2, max_size=12))
def test_a_sweep_never_touches_a_live_or_resumable_directory(world: World, acts: list[str]) -> None:
    job = job_store.new_id()
    world.accept(job)
    claim: Claim | None = world.claim()
    made = [Path(claim.directory)] if claim else []
    over: str | None = None
    days = 0
    for act in acts:
        if act.startswith("sweep"):
            days = max(days, RETENTION_DAYS + 1 if act.endswith("later") else 0)
            context = world.context(days=days)
            maintenance.apply_all(context, scratch.plan(context))
            kept = over is None or (over == "fail" and not days)
            wanted = made[-RESUMABLE:] if kept else []
            gone = [path for path in wanted if not (path / "work" / "big.tmp").is_file()]
            assert gone == [], (act, over)
            if over == "succeed" or (over == "fail" and days):
                assert not any(path.exists() for path in made)
        elif claim is not None:
            state = {"requeue": AttemptState.STOPPED, "fail": AttemptState.FAILED, "succeed": AttemptState.SUCCEEDED}
            world.finish(claim, act, state[act])
            claim = None
            if act != "requeue":
                over = act
        if over is None and claim is None:
            claim = world.claim()
            made.append(Path(claim.directory))
    _end(world, job, claim)


def _end(world: World, job: str, claim: Claim | None) -> None:
    """Leave nothing that another example would claim."""
    if claim is not None:
        world.finish(claim, "succeed", AttemptState.SUCCEEDED)
    with world.app.store.read() as connection:
        assert job_store.get(connection, job).finished_at is not None
