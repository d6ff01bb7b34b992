"""Remedies through the real daemon: changed, run again, and reported by `why`, the events and the result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import decks
from tests.support import Daemon, Home, wait_for

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
NOT_CONVERGED = "-1- scf: Self consistent charge iterator did not converge"
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
]


@pytest.fixture
def place(home: Home) -> Home:
    home.extra["QMRUNNER_CORES"] = "1"  # beside other tests: ranks spin while they wait for each other
    folder = home.path.parent
    (folder / "wat.nw").write_text(decks.water(dft="iterations 2"))
    (folder / "wat.xyz").write_text(WATER)
    return home


def hot_xtb(place: Home) -> Path:
    """The real xTB behind a condition: no convergence without an electronic temperature."""
    path = place.path.parent / "hot-xtb"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*|*--etemp*) ;; *) echo "{NOT_CONVERGED}"; exit 1 ;; esac\n'
        f'exec {shutil.which("xtb")} "$@"\n'
    )
    path.chmod(0o755)
    place.extra |= {"QMRUNNER_XTB": str(path)}
    return path


def only_job(place: Home) -> str:
    (job,) = place.json("status")["jobs"]
    return str(job["id"])


def test_an_scf_out_of_iterations_is_remedied_and_the_result_reports_it(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    running = daemon()
    shown = place.run("submit", "nwchem", "wat.nw", "--wait", timeout_s=120)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "remedy:   nwchem: 300 SCF iterations (after scf_not_converged)" in shown.stdout
    job = only_job(place)
    result = place.json("result", job)
    assert result["energy_hartree"] == pytest.approx(-75.31279, abs=1e-5)
    (told,) = result["provenance"]["remedies"]
    assert (told["remedy"], told["neutral"], told["after"]) == ("scf-iterations", True, 1)
    why = place.json("why", job)
    assert [(one["state"], one["code"]) for one in why["attempts"]] == [
        ("failed", "scf_not_converged"),
        ("succeeded", "ok"),
    ]
    assert why["attempts"][0]["changed"] == []
    assert why["attempts"][1]["changed"] == ["scf-iterations after scf_not_converged of attempt 1: 300 SCF iterations"]
    (event,) = running.told("step_remedied")
    assert (event["remedy"], event["neutral"], event["attempt"]) == ("scf-iterations", True, 1)


def test_without_remedies_the_first_failure_is_final_and_why_names_cause_and_place(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    place.extra |= {"QMRUNNER_REMEDIES": "off"}
    daemon()
    assert place.run("submit", "nwchem", "wat.nw", "--wait", timeout_s=120).returncode == 1
    why = place.json("why", only_job(place))
    assert (why["code"], why["class"], len(why["attempts"])) == ("scf_not_converged", "method", 1)
    assert why["next"] == f"qmrunner logs {why['id']} --step nwchem"


def test_what_may_alter_the_answer_is_offered_as_a_command_and_done_once_it_is_given(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    hot_xtb(place)
    daemon()
    assert place.run("submit", "xtb", "wat.xyz", "--wait", timeout_s=60).returncode == 1
    job = only_job(place)
    why = place.json("why", job)
    assert why["next"] == f"qmrunner retry {job} --allow-altering"
    assert [[text.split()[0] for text in one["changed"]] for one in why["attempts"]] == [[], ["scc-iterations"]]
    assert place.run(*why["next"].split()[1:]).returncode == 0
    result = finished(place, job)
    assert [(one["remedy"], one["neutral"]) for one in result["provenance"]["remedies"]] == [
        ("scc-iterations", True),
        ("scc-temperature", False),
    ]
    assert "can alter the answer" in place.run("result", job).stdout


def test_a_job_may_allow_altering_remedies_when_it_is_submitted(place: Home, daemon: Callable[..., Daemon]) -> None:
    hot_xtb(place)
    daemon()
    shown = place.run("submit", "xtb", "wat.xyz", "--allow-altering", "--wait", timeout_s=60)
    assert shown.returncode == 0, shown.stdout
    assert len(place.json("why", only_job(place))["attempts"]) == 3


def finished(place: Home, job: str) -> dict[str, Any]:
    wait_for(lambda: place.job(job)["state"] == "succeeded", 60.0, "the end of the job")
    found: dict[str, Any] = place.json("result", job)
    return found
