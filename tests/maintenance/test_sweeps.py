"""Sweeps: each plans by looking and does only what it planned; nothing live, resumable or foreign is touched."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from qmrunner import maintenance
from qmrunner.app import App
from qmrunner.attempt import directory, publish
from qmrunner.guardian import process as guardian_process
from qmrunner.guardian import process_tree
from qmrunner.maintenance import processes, scratch, shm, staged_results, tasks
from qmrunner.maintenance.base import Context
from qmrunner.model.jobs import Submission
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.model.states import AttemptState
from qmrunner.store import claims, workers
from qmrunner.store.advance import accept
from qmrunner.store.claims import Claim
from qmrunner.store.finish import finish
from tests.store.work import Workflow, spec
from tests.support import Home

CAPACITY = Capacity(slots=8, cores=8, memory_mib=8000)
DAY = 86400.0


ONE_STEP = Workflow(spec("xtb"))


class World:
    """A home with a store and one registered worker, without a daemon."""

    def __init__(self, home: Home) -> None:
        self.app = App(home.settings)
        self.app.open_store(create=True)
        self.paths = directory.paths(home.settings)
        with self.app.store.write() as connection:
            self.worker = workers.register(
                connection, time.time(), name="w", host="h", identity=process_tree.myself().as_dict(),
                home_id=self.app.home_id(), home="", capacity=CAPACITY, version="0",
            )  # fmt: skip

    def accept(self, job: str) -> None:
        with self.app.store.write() as connection:
            accept(connection, time.time(), job, Submission("xtb", {}), ONE_STEP)

    def claim(self) -> Claim:
        with self.app.store.write() as connection:
            claim = claims.claim(connection, time.time(), self.worker, CAPACITY, self.paths)
        assert claim is not None
        work = Path(claim.directory) / "work"
        work.mkdir(parents=True)
        (work / "big.tmp").write_text("x" * 1000)
        return claim

    def finish(self, claim: Claim, move: str, state: AttemptState) -> None:
        with self.app.store.write() as connection:
            finish(
                connection, time.time(), step_id=claim.step.id, number=claim.number,
                verdict=Verdict(move, state, "ok"), usage={}, planner=ONE_STEP,
            )  # fmt: skip

    def context(self, days: float = 0.0) -> Context:
        return Context(self.app, time.time() + days * DAY)


@pytest.fixture
def world(home: Home) -> World:
    return World(home)


def targets(actions: list[Any]) -> list[str]:
    return [action.target for action in actions]


def test_scratch_of_a_running_attempt_is_never_planned_for_removal(world: World) -> None:
    world.accept("aaaaaaaa")
    world.claim()
    assert scratch.plan(world.context(days=1000)) == []


def test_scratch_of_a_succeeded_step_goes_at_once_and_leaves_no_empty_folders(world: World) -> None:
    world.accept("aaaaaaaa")
    claim = world.claim()
    world.finish(claim, "succeed", AttemptState.SUCCEEDED)
    plan = scratch.plan(world.context())
    assert targets(plan) == [claim.directory]
    assert maintenance.apply_all(world.context(), plan) == [(plan[0], None)]
    assert list(world.app.settings.scratch_root.iterdir()) == []


def test_scratch_of_a_failed_step_stays_for_its_retention_time(world: World) -> None:
    world.accept("aaaaaaaa")
    claim = world.claim()
    world.finish(claim, "fail", AttemptState.FAILED)
    assert scratch.plan(world.context(days=6)) == []
    assert targets(scratch.plan(world.context(days=8))) == [claim.directory]


def test_the_attempts_a_requeued_step_may_resume_from_stay_and_older_ones_go(world: World) -> None:
    world.accept("aaaaaaaa")
    directories = []
    for _ in range(4):
        claim = world.claim()
        directories.append(claim.directory)
        world.finish(claim, "requeue", AttemptState.STOPPED)
    assert targets(scratch.plan(world.context())) == directories[:2]


def test_a_directory_whose_guardian_lives_is_left_even_when_its_step_is_over(world: World) -> None:
    import fcntl

    world.accept("aaaaaaaa")
    claim = world.claim()
    world.finish(claim, "succeed", AttemptState.SUCCEEDED)
    plan = scratch.plan(world.context())
    with open(Path(claim.directory) / guardian_process.LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert scratch.plan(world.context()) == []
        assert scratch.apply(world.context(), plan[0]) == "a guardian lives there"
    assert Path(claim.directory).is_dir()


def test_what_the_store_does_not_know_is_left_alone(world: World) -> None:
    foreign = world.app.settings.scratch_root / "zzzzzzzz" / "xtb" / "1"
    foreign.mkdir(parents=True)
    (world.app.settings.scratch_root / "notes").write_text("mine")
    assert scratch.plan(world.context(days=1000)) == []


def test_what_a_lost_attempt_had_staged_goes_and_what_is_being_published_stays(world: World) -> None:
    world.accept("aaaaaaaa")
    lost = world.claim()
    world.finish(lost, "requeue", AttemptState.LOST)
    live = world.claim()
    staged = []
    for claim in (lost, live):
        staged.append(publish.staging(world.app.settings.jobs_root / "aaaaaaaa", "xtb", claim.number))
        staged[-1].mkdir(parents=True)
        (staged[-1] / "energy").write_text("-5.07")
    plan = staged_results.plan(world.context())
    assert targets(plan) == [str(staged[0])]
    assert maintenance.apply_all(world.context(), plan) == [(plan[0], None)]
    assert [path.exists() for path in staged] == [False, True]


def test_a_link_in_scratch_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "xtb" / "1"
    outside.mkdir(parents=True)
    world.accept("aaaaaaaa")
    world.finish(world.claim(), "succeed", AttemptState.SUCCEEDED)
    (world.app.settings.scratch_root / "bbbbbbbb").symlink_to(tmp_path / "outside")
    maintenance.apply_all(world.context(), maintenance.plan_all(world.context(days=1000)))
    assert outside.is_dir()


def test_processes_of_an_ended_attempt_are_killed_and_strangers_are_not(world: World) -> None:
    world.accept("aaaaaaaa")
    claim = world.claim()
    environment = {**os.environ, process_tree.MARKER: claim.marker}
    ours = subprocess.Popen(["sleep", "100"], env=environment)
    stranger = subprocess.Popen(["sleep", "100"], env={**environment, process_tree.MARKER: "unknown1/xtb/1"})
    try:
        assert processes.plan(world.context()) == []
        world.finish(claim, "requeue", AttemptState.LOST)
        plan = processes.plan(world.context())
        assert targets(plan) == [str(ours.pid)]
        maintenance.apply_all(world.context(), plan)
        assert ours.wait(5) == -9
        assert stranger.poll() is None
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()


def test_a_shared_memory_segment_is_removed_only_when_old_and_unused(world: World) -> None:
    used, unused, young, other = (
        Path("/dev/shm", f"{name}-qmrunner-test-{os.getpid()}")
        for name in ("vader_segment.used", "cmx-unused", "cmx-young", "somebody")
    )
    for path in (used, unused, young, other):
        path.write_text("x")
    for path in (used, unused, other):
        os.utime(path, (0, 0))
    try:
        with open(used):
            planned = targets(shm.plan(world.context()))
        assert str(unused) in planned
        assert not {str(used), str(young), str(other)} & set(planned)
        for action in shm.plan(world.context()):
            if action.target == str(unused):
                assert shm.apply(world.context(), action) is None
        assert not unused.exists()
    finally:
        for path in (used, unused, young, other):
            path.unlink(missing_ok=True)


def test_logs_go_after_their_retention_and_results_stay_by_default(world: World) -> None:
    world.accept("aaaaaaaa")
    claim = world.claim()
    Path(claim.log).parent.mkdir(parents=True)
    Path(claim.log).write_text("output")
    results = world.app.settings.jobs_root / "aaaaaaaa"
    results.mkdir(parents=True)
    world.finish(claim, "succeed", AttemptState.SUCCEEDED)
    assert str(Path(claim.log).parent) not in targets(maintenance.plan_all(world.context(days=89)))
    maintenance.apply_all(world.context(days=91), maintenance.plan_all(world.context(days=91)))
    assert not Path(claim.log).exists()
    assert results.is_dir()


def test_succeeded_tasks_are_forgotten_after_their_retention_and_failed_ones_and_other_jobs_stay(world: World) -> None:
    from sqlalchemy import select, update

    from qmrunner.store.tables import attempts, events, jobs, steps

    kept = {"aaaaaaaa", "cccccccc"}
    for job, ending in (("aaaaaaaa", "succeed"), ("bbbbbbbb", "succeed"), ("cccccccc", "fail")):
        world.accept(job)
        claim = world.claim()
        Path(claim.log).parent.mkdir(parents=True)
        world.finish(claim, ending, AttemptState.SUCCEEDED if ending == "succeed" else AttemptState.FAILED)
    with world.app.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id != "aaaaaaaa").values(kind="huey"))
    assert tasks.plan(world.context(days=6)) == []
    plan = tasks.plan(world.context(days=8))
    assert (targets(plan), plan[0].detail) == (["bbbbbbbb"], {"jobs": 1})
    assert tasks.apply(world.context(days=8), plan[0]) is None
    with world.app.store.read() as connection:
        for column in (jobs.c.id, steps.c.job_id, attempts.c.job_id, events.c.job_id):
            assert {one for one in connection.execute(select(column)).scalars() if one} == kept
    assert {path.name for path in world.app.settings.logs_root.iterdir()} == kept


def test_of_many_succeeded_tasks_the_newest_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import update

    from qmrunner.store.tables import jobs

    for job in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        world.accept(job)
        world.finish(world.claim(), "succeed", AttemptState.SUCCEEDED)
    with world.app.store.write() as connection:
        connection.execute(update(jobs).values(kind="huey"))
    monkeypatch.setattr(tasks, "MOST", 1)
    monkeypatch.setattr(tasks, "_AT_ONCE", 1)
    assert targets(tasks.plan(world.context())) == ["aaaaaaaa", "bbbbbbbb"]


def test_a_dry_run_of_the_command_changes_nothing_and_the_real_one_does(home: Home) -> None:
    world = World(home)
    world.accept("aaaaaaaa")
    claim = world.claim()
    world.finish(claim, "succeed", AttemptState.SUCCEEDED)
    shown = home.json("sweep", "--dry-run")
    assert [row["target"] for row in shown] == [claim.directory]
    assert Path(claim.directory).is_dir()
    home.json("sweep")
    assert not Path(claim.directory).exists()
