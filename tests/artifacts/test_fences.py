"""Rows that say what a file holds change only while the attempt that changes them owns its step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qmrunner.artifacts.files import Artifacts
from qmrunner.attempt.active import ActiveAttempts
from qmrunner.attempt.checkpoints import Checkpoints, fetch_checkpoint
from qmrunner.attempt.directory import SNAPSHOTS, AttemptDirectory
from qmrunner.attempt.publish import Publication
from qmrunner.engines.nwchem import NWChem, restart
from qmrunner.model.jobs import Outcome
from qmrunner.store import schema
from qmrunner.store.artifacts import CHECKPOINT, JOB, LOG
from qmrunner.store.claims import Claim
from qmrunner.store.finish import finish
from qmrunner.store.session import Store
from tests.artifacts.conftest import Place
from tests.engines.test_nwchem_resume import ATOMS, fill
from tests.store.work import ONE, REQUEUE, SUCCEED, Work


class Lab:
    """Attempts at one step, each on a separate machine, without any process."""

    def __init__(self, root: Path, store: Store, place: Place) -> None:
        self.root, self.place, self.store = root, place, store
        self.work = Work(store)
        self.worker = self.work.worker()
        self.job = self.work.job()
        self.artifacts = Artifacts(place.blobs(), store)
        self.artifacts.verify_pairing()

    def attempt(self) -> tuple[Claim, Any]:
        """The next attempt, as its machine holds it."""
        claim = self.work.claimed(self.worker)
        machine = self.root / f"machine{claim.number}"
        folder = AttemptDirectory(machine / "scratch" / self.job / "a" / str(claim.number))
        folder.work.mkdir(parents=True)
        log = machine / "logs" / f"a.{claim.number}.log"
        log.parent.mkdir()
        log.write_text(f"output {claim.number}\n")
        live = SimpleNamespace(
            job=SimpleNamespace(id=self.job), step=claim.step, number=claim.number, directory=folder, log=log,
            label=f"{self.job}/a",
        )  # fmt: skip
        return claim, live

    def handover(self) -> Checkpoints:
        app: Any = SimpleNamespace(
            settings=SimpleNamespace(checkpoint_seconds=0.0, stop_grace_seconds=40.0),
            engine=lambda name: NWChem(),
            store=self.store,
        )
        return Checkpoints(app, self.artifacts, ActiveAttempts(), threading.Event())

    def publication(self, live: Any) -> Publication:
        (live.directory.work / "energy").write_text(f"attempt {live.number}\n")
        outcome = Outcome("succeeded", "ok", result={"n": live.number}, publish=("energy",), promote=("energy",))
        return Publication(self.root / f"machine{live.number}" / "jobs" / self.job, live, outcome, self.artifacts)

    def commit(self, claim: Claim, publication: Publication) -> int | None:
        with self.store.write() as connection:
            return finish(
                connection, self.work.now, step_id=claim.step.id, number=claim.number, verdict=SUCCEED, usage={},
                planner=ONE, publish=lambda: publication.record(connection, self.work.now),
            )  # fmt: skip

    def read(self, place: str) -> dict[str, str]:
        """Path → content, as any machine would see it."""
        files = self.artifacts.files(self.job, place)
        there = self.root / "reader"
        assert self.artifacts.bring(files, there) == []
        return {file.path: (there / file.path).read_text(errors="replace") for file in files}


@pytest.fixture
def lab(tmp_path: Path, folder: Place) -> Iterator[Lab]:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    schema.upgrade(store)
    yield Lab(tmp_path, store, folder)
    store.close()


def test_what_was_published_is_found_by_path_and_the_last_word_is_the_committed_one(lab: Lab) -> None:
    claim, live = lab.attempt()
    publication = lab.publication(live)
    publication.stage()
    assert lab.read(JOB) == {}  # sent, but not recorded yet
    assert lab.commit(claim, publication) is not None
    found = lab.read(JOB)
    assert found["energy"] == found["a/energy"] == "attempt 1\n"
    assert found["a/output.log"] == "output 1\n"
    assert set(found) == {"energy", "a/energy", "a/output.log", "a/result.json", "a/.manifest.json"}


def test_an_attempt_that_lost_its_fence_changes_nothing_of_what_a_later_one_published(lab: Lab) -> None:
    late_claim, late = lab.attempt()
    late_publication = lab.publication(late)
    late_publication.stage()  # everything is sent; then its machine freezes
    lab.work.finish(late_claim, REQUEUE)  # and is judged lost
    claim, live = lab.attempt()
    publication = lab.publication(live)
    publication.stage()
    assert lab.commit(claim, publication) is not None
    before = lab.work.everything()
    assert lab.commit(late_claim, late_publication) is None
    assert lab.work.everything() == before
    assert lab.read(JOB)["energy"] == "attempt 2\n"


def test_a_late_checkpoint_changes_nothing(lab: Lab) -> None:
    late_claim, late = lab.attempt()
    lab.work.finish(late_claim, REQUEUE)
    _, live = lab.attempt()
    fill(live.directory.snapshots / "3", 3)
    lab.handover().send_last(live)
    before = lab.work.everything()
    assert {row["attempt"] for row in before["artifacts"]} == {2}
    fill(late.directory.snapshots / "9", 9)
    lab.handover().send_last(late)
    assert lab.work.everything() == before


def test_a_checkpoint_of_a_requeued_step_changes_nothing_either(lab: Lab) -> None:
    """No other attempt has claimed it since, but the attempt has released it."""
    claim, live = lab.attempt()
    fill(live.directory.work)
    lab.work.finish(claim, REQUEUE)
    lab.handover().send_last(live)
    assert lab.work.everything()["artifacts"] == []


def test_an_ended_attempt_leaves_its_checkpoint_and_its_log(lab: Lab) -> None:
    claim, live = lab.attempt()
    fill(live.directory.work)
    fill(live.directory.snapshots / "3", 3)
    (live.directory.work / restart.MARKER).write_text("restart 1\n")
    lab.handover().send_last(live)
    lab.work.finish(claim, REQUEUE)
    assert [file.path for file in lab.artifacts.files(lab.job, LOG)] == ["a.1.log.gz"]
    _, successor = lab.attempt()
    assert fetch_checkpoint(lab.artifacts, successor, NWChem()) == 1
    previous = AttemptDirectory(successor.directory.path.parent / "1").work
    point = restart.resume_optimisation(previous, tuple(ATOMS))
    assert (point.rung, point.source) == ("restart", "checkpoint/3")
    assert (previous / restart.MARKER).read_text() == "restart 1\n"


def test_what_is_damaged_of_a_checkpoint_takes_the_next_attempt_one_rung_down(lab: Lab) -> None:
    claim, live = lab.attempt()
    fill(live.directory.snapshots / "3", 3)
    lab.handover()._send(live, last=False)
    lab.work.finish(claim, REQUEUE)
    files = {file.path: file for file in lab.artifacts.files(lab.job, CHECKPOINT)}

    def let_go(live: Any) -> None:
        lab.work.finish(SimpleNamespace(step=live.step, number=live.number), REQUEUE)  # type: ignore[arg-type]

    def rung_without(*endings: str) -> str:
        for path, file in files.items():
            if path.endswith(endings):
                lab.place.overwrite(file.sha256, b"damaged")
        _, successor = lab.attempt()
        fetch_checkpoint(lab.artifacts, successor, NWChem())
        let_go(successor)
        previous = AttemptDirectory(successor.directory.path.parent / "1").work
        return restart.resume_optimisation(previous, tuple(ATOMS)).rung

    assert rung_without() == "restart"
    assert rung_without(".db") == "geometry+vectors"
    assert rung_without(".movecs") == "geometry"
    assert rung_without(".xyz") == "fresh"


def test_what_a_later_attempt_left_on_this_machine_is_preferred(lab: Lab) -> None:
    claim, live = lab.attempt()
    fill(live.directory.snapshots / "3", 3)
    lab.handover().send_last(live)
    lab.work.finish(claim, REQUEUE)
    claim, _ = lab.attempt()
    lab.work.finish(claim, REQUEUE)
    _, third = lab.attempt()
    fill(third.directory.path.parent / "2" / "work")  # as if the second had run on the third's machine
    assert fetch_checkpoint(lab.artifacts, third, NWChem()) is None
    assert not (third.directory.path.parent / "1").exists()


def test_only_what_has_changed_is_sent_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    _, live = lab.attempt()
    handover = lab.handover()
    fill(live.directory.snapshots / "3", 3)
    handover._send(live, last=False)
    sent: list[str] = []
    put = lab.artifacts.blobs.put
    monkeypatch.setattr(lab.artifacts.blobs, "put", lambda path, sha: (sent.append(path.name), put(path, sha)))
    handover._send(live, last=False)
    assert sent == []  # the same snapshot
    fill(live.directory.snapshots / "4", 4)
    handover._send(live, last=False)
    assert sent == ["calc-004.xyz"]
    paths = [file.path.split("/") for file in lab.artifacts.files(lab.job, CHECKPOINT)]
    assert {parts[3] for parts in paths if parts[2] == SNAPSHOTS} == {"4"}
