"""Jobs that were submitted before their store had an artifact store: none fails because its input files are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qmrunner import app as composition
from qmrunner.app import App
from qmrunner.artifacts import earlier_jobs
from qmrunner.errors import NotReadyError
from qmrunner.model.jobs import Submission
from qmrunner.settings import Settings
from qmrunner.store import events, jobs
from qmrunner.store.advance import accept
from qmrunner.store.artifacts import JOB

WATER = {"structure": "w.xyz", "args": [], "atoms": 3, "files": ["w.xyz"]}


def an_app(tmp_path: Path, store_url: str, name: str, *, artifacts: bool = True) -> App:
    """The app of a machine with a separate home."""
    place = f"file://{tmp_path}/artifacts" if artifacts else None
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    url = store_url.replace("postgresql+psycopg", "postgresql")
    return composition.build(Settings(home=tmp_path / name, store_url=url, artifacts=place))


def submitted(app: App, job_id: str, **where: str) -> Path:
    """A job as a machine without an artifact store stores it; returns its folder."""
    folder = app.settings.jobs_root / job_id
    (folder / "input").mkdir(parents=True)
    (folder / "input" / "w.xyz").write_text("3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")
    with app.open_store(create=True).write() as connection:
        accept(connection, app.store.now(), job_id, Submission("xtb", WATER), app.planner, **where)
    return folder


def state_of(app: App, job_id: str) -> tuple[str, str | None]:
    with app.store.read() as connection:
        job = jobs.get(connection, job_id)
    return job.state, job.code


def test_the_first_use_sends_files_from_the_folder_that_the_submitter_recorded(tmp_path: Path, store_url: str) -> None:
    login, node = (an_app(tmp_path, store_url, name, artifacts=name == "node") for name in ("login", "node"))
    submitted(login, "abc", host="login1", folder=str(tmp_path / "login" / "jobs" / "abc"))
    node.verify_artifacts()
    found = node.artifacts.files("abc", JOB)  # type: ignore[union-attr]
    assert [(file.path, file.step) for file in found] == [("input/w.xyz", "")]
    assert node.artifacts.bring(found, tmp_path / "there") == []  # type: ignore[union-attr]
    assert state_of(node, "abc") == ("queued", None)
    with pytest.raises(NotReadyError, match="through an artifact store"):  # of a second such submission
        login.verify_artifacts()
    login.close(), node.close()


@pytest.mark.parametrize(
    "recorded", [None, "/nowhere/abc", "/etc", "LOGIN/jobs/other"], ids=["none", "gone", "strange", "another"]
)
def test_a_job_whose_files_cannot_be_reached_is_held_with_their_place(
    tmp_path: Path, store_url: str, recorded: str | None
) -> None:
    login, node = (an_app(tmp_path, store_url, name, artifacts=name == "node") for name in ("login", "node"))
    submitted(login, "other")
    shutil.rmtree(login.settings.jobs_root / "other" / "input")
    where = {} if recorded is None else {"host": "login1", "folder": recorded.replace("LOGIN", str(tmp_path / "login"))}
    folder = submitted(login, "abc", **where)
    node.verify_artifacts()
    assert state_of(node, "abc") == ("held", "inputs_elsewhere")
    with node.store.read() as connection:
        summary = jobs.get(connection, "abc").summary or ""
        assert "job_held" in [event["event"] for event in events.of_job(connection, "abc")]
    assert where.get("folder", "on the machine that submitted it") in summary
    # What the summary asks for helps.
    shutil.copytree(folder, node.settings.jobs_root / "abc")
    node.verify_artifacts(at_start=True)
    assert state_of(node, "abc") == ("queued", None)
    assert len(node.artifacts.files("abc", JOB)) == 1  # type: ignore[union-attr]
    login.close(), node.close()


def test_jobs_with_files_in_the_store_and_ended_ones_are_left_alone(tmp_path: Path, store_url: str) -> None:
    from qmrunner.store.operator_actions import cancel
    from qmrunner.submission.submit import submit

    login, node = (an_app(tmp_path, store_url, name, artifacts=name == "node") for name in ("login", "node"))
    shutil.rmtree(submitted(login, "ended"))
    with login.store.write() as connection:
        cancel(connection, login.store.now(), "ended")
    sent = submit(node, Submission("xtb", WATER, files={"w.xyz": b"3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"})).job_id
    shutil.rmtree(node.settings.jobs_root / sent)
    earlier_jobs.send(node.artifacts, node.store, node.settings.jobs_root)  # type: ignore[arg-type]
    assert state_of(node, sent) == ("queued", None)
    assert state_of(node, "ended")[0] == "cancelled"
    login.close(), node.close()
