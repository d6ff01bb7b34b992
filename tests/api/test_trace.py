"""The course of a run from its log, and the lines around one of them; the log grows, is long, or is not here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmrunner.api import traces
from qmrunner.app import App
from qmrunner.engines import convergence
from tests.api.lab import Server, refused, served
from tests.store.work import Work, Workflow, spec
from tests.support import Home

RUN = Workflow(spec("a"))
CYCLE = (
    "........................... CYCLE {n} ...........................\n"
    " * total energy  :    -5.07{n:04d} Eh\n"
    "   gradient norm :     0.0{n:04d} Eh\n"
)


@pytest.fixture
def running(home: Home) -> Iterator[tuple[Server, str, Path]]:
    """A server, a job whose step `a` runs xTB, and the path of its log."""
    app = App(home.settings)
    work = Work(app.open_store(create=True))
    job = work.job(RUN)
    work.start(work.claimed(work.worker()))
    log = home.settings.logs_root / job / "a.1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with served(home) as server:
        yield server, job, log
    app.close()


def look(server: Server, job: str, **query: Any) -> dict[str, Any]:
    answer = server.client.get(f"/v1/jobs/{job}/steps/a/trace", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_growing_log_gives_each_point_once(running: tuple[Server, str, Path]) -> None:
    server, job, log = running
    assert look(server, job)["here"] is False
    log.write_text("|        G F N 2  |\n" + "".join(CYCLE.format(n=n) for n in range(1, 4)))
    first = look(server, job)
    assert first["columns"] == ["number", "iteration", "phase", "energy_hartree", "gradient", "residual"]
    assert first["points"][0] == [1, 1, "optimisation", -5.070001, 0.00001, None]
    assert (first["last"], first["complete"], first["here"], first["live"]) == (3, True, True, True)
    half = CYCLE.format(n=4)
    with open(log, "a") as file:
        file.write(half[:-10])
    assert look(server, job, after=3)["points"] == []
    with open(log, "a") as file:
        file.write(half[-10:])
    assert [row[1] for row in look(server, job, after=3)["points"]] == [4]
    assert len(look(server, job)["points"]) == 4


def test_a_long_log_gives_at_most_two_thousand_points_with_both_ends(running: tuple[Server, str, Path]) -> None:
    server, job, log = running
    log.write_text("".join(CYCLE.format(n=n) for n in range(1, 9001)))
    found = look(server, job)
    assert len(found["points"]) <= traces.MOST_POINTS
    assert (found["points"][0][1], found["points"][-1][1], found["last"]) == (1, 9000, 9000)
    numbers = [row[0] for row in found["points"]]
    assert numbers == sorted(set(numbers))


PRINTED = """
          :   grad. convergence          0.8000000E-03 Eh/\u03b1 :
 maximum gradient threshold         (gmax) =   0.000450
          Convergence on energy requested:  1.00D-06
          Convergence on density requested:  1.00D-05
"""


def test_the_thresholds_that_a_run_prints_come_with_its_points(running: tuple[Server, str, Path]) -> None:
    server, job, log = running
    log.write_text(PRINTED.splitlines()[1] + "\n" + CYCLE.format(n=1))
    assert look(server, job)["thresholds"] == {"gradient": 8e-4}
    known: dict[str, float] = {}
    for line in PRINTED.splitlines()[2:]:
        convergence.learn(line, known)
    assert known == {"gradient": 4.5e-4, "residual": 1e-5}
    convergence.learn("                             NWChem CPHF Module", known)
    assert known == {"gradient": 4.5e-4}
    convergence.learn(" Convergence threshold     :          1.000E-04", known)
    assert known["residual"] == 1e-4


def test_lines_are_returned_around_the_one_asked_for(running: tuple[Server, str, Path]) -> None:
    server, job, log = running
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(1, 300_001)) + b"last \x1b[31mred")
    url = f"/v1/jobs/{job}/steps/a/log"
    answer = server.client.get(url, params={"line": 217, "around": 2})
    assert answer.text == "line 215\nline 216\nline 217\nline 218\nline 219\n"
    assert (answer.headers["x-first-line"], answer.headers["x-attempt"]) == ("215", "1")
    whole = log.read_bytes()
    start = int(answer.headers["x-offset"])
    assert whole[start : int(answer.headers["x-next-offset"])] == answer.content
    assert server.client.get(url, params={"line": 1, "around": 1}).text == "line 1\nline 2\n"
    end = server.client.get(url, params={"line": 300_001, "around": 1})
    assert end.content == b"line 300000\nlast \x1b[31mred"
    assert server.client.get(url, params={"line": 300_002, "around": 0}).content == b""
    assert server.client.get(url, params={"line": 200_000, "around": 0}).text == "line 200000\n"
    log.write_bytes(b"1 %\r50 %\r100 %\nnext\rand on\nlast\n")
    assert server.client.get(url, params={"line": 2, "around": 0}).content == b"next\rand on\n"
    assert server.client.get(url, params={"line": 2, "around": 1}).content == log.read_bytes()
    refused(server.client.get(url, params={"line": 0}), 422, "invalid_request")
    refused(server.client.get(url, params={"line": 1, "attempt": 2}), 404, "attempt_unknown")


def test_what_is_not_there_is_refused_or_empty(running: tuple[Server, str, Path]) -> None:
    server, job, log = running
    refused(server.client.get(f"/v1/jobs/{job}/steps/b/trace"), 404, "step_unknown")
    refused(server.client.get(f"/v1/jobs/{job}/steps/a/trace", params={"attempt": 9}), 404, "attempt_unknown")
    log.symlink_to("/etc/passwd")
    assert look(server, job)["here"] is False
    log.unlink()
    log.write_bytes(b"\0\xff" * 100_000 + b"\n" + b"x" * 3_000_000)
    assert look(server, job)["points"] == []


def test_recorded_runs_of_nwchem_have_their_iterations() -> None:
    from qmrunner import engines
    from qmrunner.engines.nwchem.progress import NWChemReader

    assert engines.get("nwchem")
    recorded = Path(__file__).parents[1] / "fixtures" / "nwchem"
    course = traces._Trace(NWChemReader(known_work=False))
    log = recorded / "ok-opt-water-hf" / "stdout.txt"
    with open(log, "rb") as file:
        assert course.read(file.fileno())
    steps = [point for point in course.points if point[2] == "optimisation"]
    inner = [point for point in course.points if point[2] == "scf"]
    assert steps
    assert inner
    assert all(point[3] is not None and point[4] is not None for point in steps)
    assert sum(point[5] is not None for point in inner) > len(steps)
