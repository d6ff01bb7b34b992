"""A worker has `doctor` examine its machine, and stores the report where pages and API of other machines read it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from qmrunner.app import App
from qmrunner.errors import NotFoundError
from qmrunner.reports import attention
from qmrunner.reports import workers as reports
from qmrunner.store import examinations
from qmrunner.worker import examination
from tests.store.work import Work
from tests.support import Home


@pytest.fixture
def app(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The store of a home whose settings this process has, too, as a worker has them."""
    for name, value in {**home.extra, "QMRUNNER_HOME": str(home.path), "QMRUNNER_XTB": "/no/such/xtb"}.items():
        monkeypatch.setenv(name, value)
    opened = App(home.settings)
    opened.open_store(create=True)
    yield opened
    opened.close()


def test_the_report_of_a_worker_is_stored_and_what_fails_needs_a_person(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Work(app.store).worker()
    with pytest.raises(NotFoundError) as caught:
        reports.checks(app, worker)
    assert caught.value.code == "not_examined"
    assert reports.view(app, worker)["examined"] is None
    monkeypatch.setattr(examination, "_FIRST_S", 0.0)
    run, ended = examination.examine, []
    monkeypatch.setattr(examination, "examine", lambda *words: ended.append(run(*words)) or ended[-1])
    examination.Examination(worker, threading.Event()).turn()
    assert ended == [0]
    found = reports.checks(app, worker)
    assert reports.view(app, worker)["examined"] == {"at": found["at"], **found["summary"]}
    assert {row["name"]: row["result"] for row in found["checks"]}["xtb"] == "fail"
    assert len(found["checks"]) > 20
    assert "checks_failed" in {row["code"] for row in attention.overview(app)["attention"]}


def test_the_next_report_replaces_the_last_one(app: App) -> None:
    worker = Work(app.store).worker()
    for at, result in ((1.0, "fail"), (2.0, "ok")):
        with app.store.write() as connection:
            examinations.save(connection, at, worker, [{"name": "cores", "result": result}])
    with app.store.read() as connection:
        assert examinations.counts(connection) == {worker: {"at": 2.0, "ok": 1, "warn": 0, "fail": 0}}
        assert examinations.of_worker(connection, worker) == (2.0, [{"name": "cores", "result": "ok"}])
        assert examinations.of_worker(connection, worker + 1) is None


def test_an_examination_that_takes_too_long_is_ended_and_a_worker_that_leaves_does_not_wait(home: Home) -> None:
    assert examination.examine(1, threading.Event(), longest_s=0.0) is None
    leaving, began = threading.Event(), time.monotonic()
    leaving.set()
    assert examination.examine(1, leaving) is None
    examination.Examination(1, leaving).turn()
    assert time.monotonic() - began < 5.0
    assert home.processes() == []
