"""A CREST search that is cut short through the real daemon: what it had completed is sorted, and marked as partial."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from tests.lifecycle.lab import kill
from tests.support import Daemon, Home, wait_for

TESTS = Path(__file__).parents[1]
RECORDED = TESTS / "fixtures" / "crest" / "butanol"
FINAL = ("succeeded", "failed", "cancelled", "held")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    shutil.copyfile(RECORDED / "butanol.xyz", tmp_path / "butanol.xyz")
    crest = {
        "QMRUNNER_CREST": str(TESTS / "stand_ins" / "crest"),
        "STAND_IN_RECORDED": str(RECORDED),
        "STAND_IN_GATE": str(tmp_path / "gate"),
    }
    return Home(tmp_path / "home", crest)


def submitted(home: Home, *words: str) -> str:
    """A search from the structure that was recorded."""
    ended = home.run("submit", *(words or ("conformers", "butanol.xyz", "--conformers", "crest")))
    assert ended.returncode == 0, ended
    return ended.stdout.strip()


def engine(home: Home, job: str) -> Identity:
    """Who the running CREST is, once it stopped at its gate."""

    def found() -> Identity | None:
        for step in home.job(job)["steps"]:
            if step["engine"] == "crest" and step["state"] == "running" and step["engine_pid"]:
                log = Path(step["log"])
                if log.exists() and "MTD Simulations done" in log.read_text():
                    return process_tree.identity_of(step["engine_pid"])
        return None

    identity = wait_for(found, 30.0, "a search at its gate")
    assert identity is not None
    return identity


def guardian(home: Home, job: str) -> Identity:
    (step,) = [step for step in home.job(job)["steps"] if step["engine"] == "crest"]
    identity = process_tree.identity_of(step["guardian_pid"])
    assert identity is not None
    return identity


def ended(home: Home, job: str) -> dict[str, Any]:
    """Its result."""
    wait_for(lambda: home.job(job)["state"] in FINAL, 60.0, f"the end of {job}")
    return dict(home.json("result", job))


def attempts(home: Home, job: str) -> list[tuple[str, str, str]]:
    """(state, code, notes) of each attempt at the search."""
    rows = [row for row in home.json("why", job)["attempts"] if row["step"] in ("conformers", "crest")]
    return [(row["state"], row["code"], " ".join(row["notes"])) for row in rows]


def recorded_energies() -> list[float]:
    lines = (RECORDED / "crest_conformers.xyz").read_text().splitlines()
    return [float(line) for line in lines[1::17]]


@pytest.mark.parametrize("what", ["guardian", "engine"])
def test_after_a_kill_the_completed_iterations_are_the_ensemble_and_the_result_reports_it(
    home: Home, daemon: Callable[..., Daemon], what: str
) -> None:
    daemon()
    job = submitted(home)
    crest = engine(home, job)
    kill(guardian(home, job) if what == "guardian" else crest)
    result = ended(home, job)
    lost, salvaged = attempts(home, job)
    assert lost[:2] == (("lost", "guardian_lost") if what == "guardian" else ("failed", "killed"))
    assert salvaged[:2] == ("succeeded", "ok")
    assert "resume: .cre_0.xyz of the previous attempt" in salvaged[2]
    told = result["provenance"]["conformers"]
    assert (told["partial"], told["iterations"]) == (True, 1)
    assert "1 metadynamics iteration completed" in told["notes"][0]
    energies = sorted(row["energy_hartree"] for row in result["conformers"])
    assert energies == recorded_energies()[0::2]
    shown = home.run("result", job).stdout
    assert "partial ensemble" in shown
    assert "submit the job again" in shown
    assert "of a partial search" in home.job(job)["summary"]
    wait_for(lambda: not process_tree.is_alive(crest), 5.0, "the end of the killed search")


def test_all_completed_iterations_survive_a_restart_of_the_daemon(home: Home, daemon: Callable[..., Daemon]) -> None:
    home.extra["STAND_IN_ITERATIONS"] = "2"
    first = daemon()
    job = submitted(home)
    engine(home, job)
    assert first.stop() == 0
    daemon()
    result = ended(home, job)
    assert [row[:2] for row in attempts(home, job)] == [("stopped", "stopped"), ("succeeded", "ok")]
    assert result["provenance"]["conformers"]["iterations"] == 2
    assert sorted(row["energy_hartree"] for row in result["conformers"]) == recorded_energies()


def test_a_run_of_ones_own_is_salvaged_with_its_own_flags(home: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    job = submitted(home, "crest", "butanol.xyz", "--", "--quick")
    engine(home, job)
    kill(guardian(home, job))
    result = ended(home, job)
    assert result["result"]["partial"] is True
    assert {"crest/crest_conformers.xyz", "crest/crest_best.xyz"} <= set(result["files"])
    assert "partial ensemble" in home.run("result", job).stdout
    assert home.job(job)["summary"] == "partial ensemble"


@pytest.mark.parametrize("why", ["nothing was complete", "the salvage failed"])
def test_the_search_is_run_from_the_start_when(home: Home, daemon: Callable[..., Daemon], why: str) -> None:
    nothing = why == "nothing was complete"
    home.extra |= {"STAND_IN_ITERATIONS": "0"} if nothing else {"STAND_IN_CREGEN_FAILS": "1"}
    daemon()
    job = submitted(home)
    engine(home, job)
    kill(guardian(home, job))
    engine(home, job)
    Path(home.extra["STAND_IN_GATE"]).touch()
    result = ended(home, job)
    between = [] if nothing else [("failed", "unknown")]
    seen = attempts(home, job)
    assert [row[:2] for row in seen] == [("lost", "guardian_lost"), *between, ("succeeded", "ok")]
    assert "searched from the beginning" in seen[-1][2]
    assert "partial" not in result["provenance"]["conformers"]
    assert len(result["conformers"]) == len(recorded_energies())


def test_a_partial_ensemble_is_never_taken_over_by_the_same_job_submitted_again(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    home.extra["QMRUNNER_REUSE"] = "on"
    daemon()
    job = submitted(home)
    engine(home, job)
    kill(guardian(home, job))
    assert ended(home, job)["provenance"]["conformers"]["partial"] is True
    Path(home.extra["STAND_IN_GATE"]).touch()
    again = submitted(home)
    result = ended(home, again)
    assert "partial" not in result["provenance"]["conformers"]
    assert len(result["conformers"]) == len(recorded_energies())
    third = submitted(home)
    ended(home, third)
    (row,) = [row for row in home.json("why", third)["attempts"] if row["step"] == "conformers"]
    assert row["usage"]["reused_from"] == f"{again}/conformers"
