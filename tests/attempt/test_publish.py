"""From a private folder to the job's folder: whole or not at all, and again after a commit that failed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qmrunner.artifacts.files import MANIFEST
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.publish import Publication
from qmrunner.model.jobs import Outcome


class Case:
    """One attempt with files, and its job's folder."""

    def __init__(self, root: Path, number: int = 1, **outcome: Any) -> None:
        self.job = root / "jobs" / "j1"
        self.folder = AttemptDirectory(root / "scratch" / str(number))
        self.folder.work.mkdir(parents=True)
        self.log = root / f"xtb.{number}.log"
        self.log.write_text(f"output {number}\n")
        values: dict[str, Any] = {"result": {"attempt": number}, "publish": ("geometry.xyz",)}
        self.outcome = Outcome("succeeded", "ok", **{**values, **outcome})
        live: Any = SimpleNamespace(
            step=SimpleNamespace(name="xtb"), number=number, directory=self.folder, log=self.log, job=None
        )
        self.publication = Publication(self.job, live, self.outcome)
        (self.folder.work / "geometry.xyz").write_text(f"geometry {number}\n")

    def published(self) -> dict[str, str]:
        found = [path for path in self.job.rglob("*") if path.is_file() and path.name != MANIFEST]
        return {str(path.relative_to(self.job)): path.read_text() for path in found}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_nothing_shows_before_the_commit_and_everything_after(case: Case) -> None:
    case.publication.stage()
    assert not (case.job / "xtb").exists()
    case.publication.commit()
    assert set(case.published()) == {"xtb/geometry.xyz", "xtb/result.json", "xtb/output.log"}
    assert json.loads(case.published()["xtb/result.json"]) == {"attempt": 1}
    assert case.published()["xtb/output.log"] == "output 1\n"


def test_what_was_discarded_leaves_nothing(case: Case) -> None:
    case.publication.stage()
    case.publication.discard()
    assert case.published() == {}
    assert list(case.job.iterdir()) == []


def test_a_commit_that_was_rolled_back_can_be_done_again(case: Case) -> None:
    # The store fails after the rename: the transaction is tried again, from staging on.
    for _ in range(3):
        case.publication.stage()
        case.publication.commit()
        assert case.published()["xtb/geometry.xyz"] == "geometry 1\n"
    assert sorted(path.name for path in case.job.iterdir()) == ["xtb"]


def test_the_attempt_that_is_committed_replaces_one_that_was_not(tmp_path: Path) -> None:
    first, second = Case(tmp_path, 1), Case(tmp_path, 2)
    first.publication.stage()
    first.publication.commit()
    (first.job / "xtb" / "stale").write_text("x")
    second.publication.stage()
    second.publication.commit()
    assert json.loads(second.published()["xtb/result.json"]) == {"attempt": 2}
    assert "xtb/stale" not in second.published()
    assert sorted(path.name for path in second.job.iterdir()) == ["xtb"]


def test_links_are_not_published(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    case = Case(tmp_path, publish=("geometry.xyz", "link", "hidden/../link", "missing"))
    (case.folder.work / "link").symlink_to(secret)
    case.publication.stage()
    case.publication.commit()
    assert "secret" not in case.published().values()


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("secret")
    case = Case(tmp_path, publish=("folder/file",))
    (case.folder.work / "folder").symlink_to(tmp_path / "elsewhere")
    case.publication.stage()
    case.publication.commit()
    assert "secret" not in case.published().values()


def test_promoted_files_stand_in_the_jobs_folder_too(tmp_path: Path) -> None:
    case = Case(tmp_path, promote=("geometry.xyz", "missing"))
    case.publication.stage()
    case.publication.commit()
    assert case.published()["geometry.xyz"] == "geometry 1\n"
    assert sorted(path.name for path in case.job.iterdir()) == ["geometry.xyz", "xtb"]


def test_staging_half_done_is_done_again(case: Case) -> None:
    stale = case.job / ".xtb.1.new"
    stale.mkdir(parents=True)
    (stale / "half").write_text("x")
    case.publication.stage()
    case.publication.commit()
    assert "xtb/half" not in case.published()


def test_a_job_folder_that_was_deleted_is_made_again(case: Case) -> None:
    assert not case.job.exists()
    case.publication.stage()
    case.publication.commit()
    assert case.published()["xtb/geometry.xyz"] == "geometry 1\n"


def test_a_staged_publication_survives_the_end_of_the_scratch(case: Case) -> None:
    import shutil

    case.publication.stage()
    shutil.rmtree(case.folder.path)
    case.publication.commit()
    assert case.published()["xtb/geometry.xyz"] == "geometry 1\n"


def test_names_that_lead_outside_are_not_published(tmp_path: Path) -> None:
    case = Case(tmp_path, publish=("../../../secret", "geometry.xyz"))
    (tmp_path / "secret").write_text("secret")
    case.publication.stage()
    case.publication.commit()
    assert set(case.published()) == {"xtb/geometry.xyz", "xtb/result.json", "xtb/output.log"}
