"""A server may take a commit and disappear before it confirms it: what was stored then is neither lost nor
forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from qmrunner.app import App
from qmrunner.attempt import teardown
from qmrunner.guardian import process_tree
from qmrunner.host import capacity as host_capacity
from qmrunner.store import workers
from qmrunner.store.session import StoreUnavailable
from qmrunner.submission import job_kinds
from qmrunner.submission.submit import submit
from qmrunner.worker.adoption import reclaim
from qmrunner.worker.claim_loop import Worker
from qmrunner.worker.lifetime import Lifetime
from tests.support import ROOT, Home

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", {"QMRUNNER_XTB": str(ROOT / "tests" / "stand_ins" / "xtb")})


@pytest.fixture
def app(home: Home) -> Iterator[App]:
    made = App(home.settings)
    made.open_store(create=True)
    yield made
    made.close()


def lose_answer(app: App, monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> None:
    """The next write is taken, or not, and its answer does not come; those after it are as ever."""
    real = app.store.write

    @contextmanager
    def write() -> Iterator[Connection]:
        monkeypatch.setattr(app.store, "write", real)
        if taken:
            with real() as connection:
                yield connection
        else:
            with app.store.engine.connect() as connection:  # closed without a commit
                yield connection
        raise StoreUnavailable("store_unavailable", "the store does not answer")

    monkeypatch.setattr(app.store, "write", write)


def water(app: App) -> str:
    path = app.settings.home.parent / "water.xyz"
    path.write_text(WATER)
    return submit(app, job_kinds.xtb(str(path))).job_id


def test_a_job_whose_commit_got_through_is_acknowledged_and_keeps_its_files(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answer(app, monkeypatch, taken=True)
    job = water(app)
    assert (app.settings.jobs_root / job / "input" / "water.xyz").read_text() == WATER


def test_a_job_whose_commit_did_not_get_through_is_refused_and_leaves_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answer(app, monkeypatch, taken=False)
    with pytest.raises(StoreUnavailable):
        water(app)
    assert list(app.settings.jobs_root.iterdir()) == []


def test_a_claim_whose_answer_got_lost_is_found_and_the_step_is_ready_again(
    home: Home, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = water(app)
    capacity = host_capacity.capacity(home.settings)
    with app.store.write() as connection:
        number = workers.register(
            connection, 1.0, name="here", host="here", identity=process_tree.myself().as_dict(), home_id=app.home_id(),
            home=str(home.path), capacity=capacity, version="0",
        )  # fmt: skip
    worker = Worker(app, number, capacity, Lifetime())
    # It waits for orphans below its supervisor, which here is the process that runs the tests: we would be one of
    # those.
    monkeypatch.setattr(teardown, "DEADLINE_S", 0.0)
    lose_answer(app, monkeypatch, taken=True)
    worker.run_ready_steps()
    assert worker.claim_unsure.is_set()
    assert home.job(job)["steps"][0]["state"] == "claimed"
    reclaim(worker, 0.01)
    step = home.job(job)["steps"][0]
    assert (step["state"], step["attempt"]) == ("ready", 1)
    reclaim(worker, 0.01)
    assert home.job(job)["steps"][0]["state"] == "ready"
