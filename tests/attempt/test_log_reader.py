"""A growing log becomes progress; what is seen of it becomes observations; paces outlive a consumer and an attempt."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.hang_watch import PACE, HangWatch, observation, outcome, report_path
from qmrunner.attempt.log_reader import LogReader
from qmrunner.attempt.narration import Narration
from qmrunner.engines.nwchem.progress import NWChemReader
from qmrunner.guardian import process
from qmrunner.model.jobs import Grant, Outcome, Progress
from qmrunner.settings import Settings
from tests.engines.support import FIXTURES, step

SCF = " d= 0,ls=0.0,diis     {n}   -115.6831447533 -4.05D+02  1.68D-02  2.63D-01     0.9\n"
LOG = (FIXTURES / "nwchem" / "ok-nmr-methanol-cosmo-v7.2.3" / "stdout.txt").read_bytes()
MakeLive = Callable[..., ActiveAttempt]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[MakeLive]:
    made: list[ActiveAttempt] = []

    def make(number: int = 1) -> ActiveAttempt:
        folder = AttemptDirectory(tmp_path / "scratch" / str(number))
        folder.work.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logs").mkdir(exist_ok=True)
        log = tmp_path / "logs" / f"scf.{number}.log"
        job: Any = type("Job", (), {"id": "job"})
        one = ActiveAttempt(job, step("nwchem", "shielding"), number, Grant(1, 64, 64, 0), folder, log, f"job/{number}")
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def test_progress_is_narrated_once_per_phase_and_iteration_also_by_a_second_consumer(
    live: MakeLive, tmp_path: Path
) -> None:
    path = tmp_path / "narration.log"
    for half in (LOG[: len(LOG) // 2], LOG[len(LOG) // 2 :]):
        attempt = live()  # a consumer that was restarted reads the log again from its start
        with open(attempt.log, "ab") as file:
            file.write(half)
        attempt.narration = Narration(path)
        reader = LogReader(attempt, NWChemReader())
        while reader.read() or not (reader.signs() or {})["caught_up"]:
            pass
    lines = path.read_text().splitlines()
    assert lines[:3] == ["property", "scf", "initial guess"]
    assert any(line.startswith("shielding of atom 1") for line in lines)
    assert all(one != other for one, other in itertools.pairwise(lines))
    assert 20 < len(lines) < len(LOG.splitlines()) / 5


def test_a_log_read_in_any_pieces_reports_the_same(live: MakeLive) -> None:
    whole, pieces = live(1), live(2)
    whole.log.write_bytes(LOG)
    LogReader(whole, NWChemReader()).read()
    feed = LogReader(pieces, NWChemReader())
    with open(pieces.log, "ab") as file:
        for start in range(0, len(LOG), 997):
            file.write(LOG[start : start + 997])
            file.flush()
            feed.read()
    timeless = [{k: v for k, v in one.progress.items() if k != "ends_at"} for one in (whole, pieces)]
    assert timeless[0] == timeless[1]
    assert timeless[0]["phase"] == "done"
    assert feed.signs()["output_bytes"] == len(LOG)  # type: ignore[index]


def test_the_last_line_shows_whether_iterations_are_running(live: MakeLive) -> None:
    one = live()
    feed = LogReader(one, NWChemReader())
    assert feed.signs() is None
    for text, iterating in ((SCF.format(n=1), True), ("\n", True), ("   Grid integrated density\n", False)):
        with open(one.log, "a") as file:
            file.write(text)
        feed.read()
        signs = feed.signs()
        assert signs is not None
        assert (signs["iterating"], signs["iterations"], signs["phase"]) == (iterating, 1, "scf")


def test_a_backlog_is_read_in_parts_and_known_to_be_one(live: MakeLive) -> None:
    one = live()
    one.log.write_bytes(b"nothing of interest\n" * 100_000)
    feed = LogReader(one, NWChemReader())
    feed.read()
    assert feed.signs()["caught_up"] is False  # type: ignore[index]
    feed.read()
    assert feed.signs()["caught_up"] is True  # type: ignore[index]


def test_a_log_that_was_there_before_is_timed_from_the_start_of_the_attempt(live: MakeLive) -> None:
    one = live()
    one.log.write_bytes(LOG[: LOG.index(b"NWChem CPHF Module") + 20])
    now = time.time()
    os.utime(one.log, (now, now))
    (one.directory.path / process.RECORD).write_text(json.dumps({"started_at": now - 53.0}))
    LogReader(one, NWChemReader()).read()
    low, high = one.progress["ends_at"]
    assert (low + high) / 2 == pytest.approx(now + 47.0, abs=1.0)


def looks(watch: HangWatch, seconds: int, **told: Any) -> None:
    """A look of the guardian every two seconds, each with one reported iteration."""
    for at in range(0, seconds, 2):
        message = {"at_s": float(at), "usage": {"cpu_s": float(at), "scratch_mib": 0.0}, "tree": [[9, "nw", "R", 1.0]]}
        watch.observe(observation(message, output_bytes=at, iterations=at, phase="scf", iterating=True, **told))


def test_the_next_attempt_knows_the_pace_of_the_one_before(live: MakeLive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmrunner.attempt.hang_watch._PACE_EVERY_S", 0.0)
    first = live(1)
    looks(HangWatch(first, Settings(), 1.0), 20)
    memory = json.loads((first.directory.path / PACE).read_text())
    assert memory["phases"]["scf"] == {"count": 16, "median_s": 1.0, "longest_s": 1.0}
    second = HangWatch(live(2), Settings(), 1.0)
    looks(second, 4)
    assert json.loads((live(2).directory.path / PACE).read_text())["phases"] == memory["phases"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"phases": []}', '{"phases": {"scf": 3}, "survived_s": {}}'])
def test_a_spoiled_memory_is_as_good_as_none(live: MakeLive, text: str) -> None:
    one = live()
    (one.directory.path / PACE).write_text(text)
    HangWatch(one, Settings(), 1.0)


def test_without_a_report_the_engines_own_evidence_stands(live: MakeLive) -> None:
    one = live()
    said = Outcome("stopped", "hung", summary="no progress; ended")
    found = outcome(one, said)
    assert (found.state, found.code, found.failure_class, found.evidence) == ("failed", "hung", "transient", None)
    report_path(one.log).write_text("hung: idle: process 7 (xtb) wrote nothing\n\nmore\n")
    found = outcome(one, said)
    assert found.evidence is not None
    assert (found.evidence.text, found.evidence.line) == ("idle: process 7 (xtb) wrote nothing", 1)
    assert found.evidence.file == "scf.1.hang.txt"


class _Fails:
    """A reader that does not expect one line."""

    def feed(self, line: str) -> Progress | None:
        if "odd" in line:
            raise ValueError("Exceeds the limit (4300 digits)")
        return Progress("scf", int(line))


def test_a_line_that_a_reader_does_not_expect_costs_no_run(live: MakeLive) -> None:
    attempt = live()
    attempt.log.write_text("1\nodd\nodd\n2\n")
    LogReader(attempt, _Fails()).read()
    assert attempt.progress["iteration"] == 2
