"""Many jobs in one transaction: each gets the id it would get alone, and a failure leaves none of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.model.jobs import Submission
from qmrunner.store import jobs as job_store
from qmrunner.submission import job_kinds
from qmrunner.submission import submit as submitting
from qmrunner.submission.submit import submit, submit_all
from tests.support import ROOT, Home

WATER = "3\n\nO 0 0 0\nH 0 0 0.96\nH 0.9 0 -0.3\n"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    home = Home(tmp_path / "home", {"QMRUNNER_XTB": str(ROOT / "tests" / "stand_ins" / "xtb")})
    made = App(home.settings)
    made.open_store(create=True)
    yield made
    made.close()


@pytest.fixture
def water(tmp_path: Path) -> Submission:
    (tmp_path / "water.xyz").write_text(WATER)
    return job_kinds.xtb(str(tmp_path / "water.xyz"))


def stored(app: App) -> set[str]:
    with app.store.read() as connection:
        return {job.id for job in job_store.listing(connection)}


def folders(app: App) -> set[str]:
    return {path.name for path in app.settings.jobs_root.iterdir()}


def test_keys_known_before_and_keys_that_occur_twice_give_one_job(app: App, water: Submission) -> None:
    before = submit(app, replace(water, key="old")).job_id
    asked = [water, replace(water, key="a"), replace(water, key="old"), replace(water, key="a"), water]
    done = submit_all(app, asked)
    assert [one.new for one in done] == [True, True, False, False, True]
    assert done[2].job_id == before
    assert done[3].job_id == done[1].job_id
    assert stored(app) == folders(app) == {one.job_id for one in done}
    for one in done:
        assert (app.settings.jobs_root / one.job_id / "input" / "water.xyz").read_text() == WATER


def test_a_failure_at_the_last_job_leaves_nothing_of_the_first(
    app: App, water: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = replace(water, files={"x" * 300: b""})  # longer than a name of a file may be
    with pytest.raises(NotReadyError, match="could not be stored"):
        submit_all(app, [water, bad])
    assert stored(app) == folders(app) == set()


def test_a_key_that_another_process_stores_meanwhile_gives_its_job(
    app: App, water: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = submitting.write_inputs, []

    def write_inputs(*given: object) -> None:
        monkeypatch.setattr(submitting, "write_inputs", real)
        others.append(submit(app, replace(water, key="b")).job_id)
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(submitting, "write_inputs", write_inputs)
    done = submit_all(app, [replace(water, key="a"), replace(water, key="b")])
    assert [one.new for one in done] == [True, False]
    assert done[1].job_id == others[0]
    assert stored(app) == folders(app) == {one.job_id for one in done}
