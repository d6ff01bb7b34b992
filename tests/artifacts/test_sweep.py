"""Sweeps of the artifact store: what nothing refers to goes when it is old, what a file of a job has never goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qmrunner import maintenance
from qmrunner.app import App
from qmrunner.artifacts.files import Artifacts
from qmrunner.maintenance import artifacts as sweep
from qmrunner.maintenance.base import Action, Context
from qmrunner.model.states import JobState
from qmrunner.store import artifacts as rows
from qmrunner.store import jobs as job_store
from qmrunner.store.tables import jobs
from qmrunner.submission import job_kinds
from qmrunner.submission.submit import submit
from tests.artifacts.conftest import STAND_IN, WATER, Place
from tests.support import Home

DAY_S = 86400.0


class World:
    """A store with an artifact store, and its own clock: a test sets the age of contents."""

    def __init__(self, home: Home, place: Place) -> None:
        self.home = home
        self.root = Path(unquote(place.url.removeprefix("file://")))
        home.extra |= {"QMRUNNER_ARTIFACTS": place.url, "QMRUNNER_XTB": str(STAND_IN)}
        self.app = App(home.settings)
        self.app.open_store(create=True)
        self.days = 0.0
        source = home.path.parent / "water.xyz"
        source.write_text(WATER)
        self.job = submit(self.app, job_kinds.xtb(str(source), [], [])).job_id

    @property
    def artifacts(self) -> Artifacts:
        found = self.app.artifacts
        assert found is not None
        return found

    def context(self, *, days: float | None = None) -> Context:
        return Context(self.app, time.time() + (self.days if days is None else days) * DAY_S)

    def put(self, text: str) -> rows.File:
        """A content as young as by the world's clock, not referred to yet."""
        path = self.home.path.parent / "source"
        path.write_text(text)
        content = self.artifacts.put({text: path})[text]
        at = time.time() + self.days * DAY_S
        os.utime(self.blob(content.sha256), (at, at))
        return rows.File(self.job, rows.JOB, f"xtb/{text}", "xtb", 1, content.sha256, content.bytes)

    def blob(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256[2:]

    def refer(self, file: rows.File, path: str = "") -> None:
        with self.app.store.write() as connection:
            named = file if not path else rows.File(file.job_id, file.place, path, "xtb", 1, file.sha256, file.bytes)
            rows.add(connection, 1.0, [named])

    def end_job(self, days_ago: float) -> None:
        with self.app.store.write() as connection:
            connection.execute(
                jobs.update().values(state=JobState.SUCCEEDED, finished_at=time.time() - days_ago * DAY_S)
            )

    def targets(self, context: Context) -> set[str]:
        return {action.target for action in sweep.plan(context)}


@pytest.fixture
def world(home: Home, folder: Place) -> Iterator[World]:
    made = World(home, folder)
    yield made
    made.app.close()


def test_only_what_is_old_and_has_no_file_is_planned(world: World) -> None:
    used, unused = world.put("used"), world.put("unused")
    world.refer(used)
    assert world.targets(world.context(days=0.9)) == set()
    assert world.targets(world.context(days=1.1)) == {unused.sha256}
    done = maintenance.apply_all(world.context(days=1.1), sweep.plan(world.context(days=1.1)))
    assert [problem for _, problem in done] == [None]
    assert world.blob(used.sha256).is_file()
    assert not world.blob(unused.sha256).exists()


def test_a_plan_removes_nothing(world: World) -> None:
    unused = world.put("unused")
    world.days = 2
    assert world.targets(world.context()) == {unused.sha256}
    assert world.blob(unused.sha256).is_file()


def test_what_was_sent_again_or_referred_to_after_the_plan_stays(world: World) -> None:
    again, named = world.put("again"), world.put("named")
    world.days = 2
    plan = sweep.plan(world.context())
    assert {action.target for action in plan} == {again.sha256, named.sha256}
    world.put("again")
    world.refer(named)
    done = maintenance.apply_all(world.context(), plan)
    assert {problem for _, problem in done} == {"it was sent again meanwhile", "a file refers to it meanwhile"}
    assert world.blob(again.sha256).is_file()
    assert world.blob(named.sha256).is_file()


def test_files_of_old_jobs_are_forgotten_by_the_retention_settings(world: World) -> None:
    world.home.extra["QMRUNNER_RESULT_RETENTION_DAYS"] = "30"
    world.app.close()
    world.app = App(world.home.settings)
    world.refer(world.put("result"))
    with world.app.store.write() as connection:
        rows.add(connection, 1.0, [rows.File(world.job, rows.LOG, "xtb.1.log.gz", "xtb", 1, "0" * 64, 1)])
    world.end_job(days_ago=31)
    plan = [action for action in sweep.plan(world.context()) if action.verb == "forget"]
    assert [(action.target, action.detail["place"]) for action in plan] == [(world.job, "job")]
    maintenance.apply_all(world.context(), plan)
    assert world.artifacts.files(world.job, rows.JOB) == []
    assert len(world.artifacts.files(world.job, rows.LOG)) == 1  # 90 days


def test_halves_of_uploads_are_cleared_when_they_are_old(world: World) -> None:
    half = world.root / "incoming" / "abc"
    half.write_text("half")
    assert world.targets(world.context()) == set()
    plan = sweep.plan(world.context(days=2))
    assert Action("artifacts", "clear", "abc", "an upload was interrupted") in plan
    maintenance.apply_all(world.context(days=2), plan)
    assert not half.exists()


def test_nothing_is_swept_in_the_place_of_another_store(world: World) -> None:
    world.put("unused")
    (world.root / "qmrunner-artifacts.id").write_text("somebody else's\n")
    assert world.targets(world.context(days=2)) == set()


def test_object_storage_is_swept_by_its_own_times(home: Home, bucket: Place) -> None:
    home.extra |= {"QMRUNNER_ARTIFACTS": bucket.url, "QMRUNNER_XTB": str(STAND_IN)}
    app = App(home.settings)
    app.open_store(create=True)
    source = home.path.parent / "water.xyz"
    source.write_text(WATER)
    job = submit(app, job_kinds.xtb(str(source), [], [])).job_id
    assert app.artifacts is not None
    sent = app.artifacts.put({"used": source, "unused": Path(__file__)})
    used, unused = sent["used"].sha256, sent["unused"].sha256
    with app.store.write() as connection:
        rows.add(connection, 1.0, [rows.File(job, rows.JOB, "xtb/used", "xtb", 1, used, sent["used"].bytes)])
    today, later = Context(app, time.time()), Context(app, time.time() + 1.1 * DAY_S)
    assert sweep.plan(today) == []
    plan = sweep.plan(later)
    assert [(action.verb, action.target) for action in plan] == [("remove", unused)]
    assert [problem for _, problem in maintenance.apply_all(today, plan)] == ["it was sent again meanwhile"]
    assert [problem for _, problem in maintenance.apply_all(later, plan)] == [None]
    assert [blob.sha256 for blob in app.artifacts.blobs.every()] == [used]
    app.close()


def test_the_sweep_command_lists_it(world: World) -> None:
    unused = world.put("unused")
    at = time.time() - 2 * DAY_S
    os.utime(world.blob(unused.sha256), (at, at))
    planned = world.home.json("sweep", "--dry-run")
    assert [one["target"] for one in planned if one["sweep"] == "artifacts"] == [unused.sha256]
    assert world.blob(unused.sha256).is_file()
    world.home.run("sweep")
    assert not world.blob(unused.sha256).exists()


# What happens between sweeps: contents come, get a file, lose it; time goes by; a plan is applied late.
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put and refer", "refer", "forget", "wait", "plan", "apply", "sweep"]),
        st.sampled_from("ab"),
    ),
    min_size=6,
    max_size=30,
)
LATE = [
    (act, "a") for act in ("put", "wait", "wait", "plan", "put and refer", "apply")
]  # what the look before a removal is for


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
@example(acts=LATE)
def test_whatever_happens_no_content_that_a_file_has_is_ever_removed(world: World, acts: list[tuple[str, str]]) -> None:
    fresh: dict[str, tuple[rows.File, float]] = {}
    plan: list[Action] = []
    for act, text in acts:
        if act.startswith("put"):
            fresh[text] = (world.put(text), world.days)
        if act == "put and refer" or (act == "refer" and text in fresh and world.days - fresh[text][1] < 1):
            world.refer(fresh[text][0])  # as a publication does: it sends again what it sent too long ago
        elif act == "forget":
            with world.app.store.write() as connection:
                rows.forget(connection, world.job, rows.JOB, "xtb")
        elif act == "wait":
            world.days += 0.6
        elif act == "plan":
            plan = sweep.plan(world.context())
        elif act == "apply":
            maintenance.apply_all(world.context(), plan)
        elif act == "sweep":
            maintenance.apply_all(world.context(), sweep.plan(world.context()))
        named = world.artifacts.files(world.job, rows.JOB)
        assert [file.path for file in named if not world.blob(file.sha256).is_file()] == [], act
    with world.app.store.write() as connection:
        rows.forget(connection, world.job, rows.JOB, "xtb")
        assert job_store.get(connection, world.job).id == world.job
