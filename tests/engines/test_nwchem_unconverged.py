"""Tasks that did not converge, whatever the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.nwchem.output import unconverged
from qmrunner.model.jobs import Exit
from tests.engines.nwchem_outputs import (
    END,
    ENERGY,
    HEADER,
    judged,
    log_of,
)

SAID = {
    "neb_not_converged": ("task scf neb", "@neb   NEB calculation not converged"),
    "string_not_converged": ("task scf string", "@zts The string calculation failed to converge"),
    "pspw_not_converged": ("task pspw energy", " *** arived at the Maximum iteration.  terminated"),
    "cphf_not_converged": ("task dft property", " WARNING: CPKS procedure is NOT converged"),
    "vscf_not_converged": ("task scf vscf", " *** VSCF DID NOT CONVERGE ***"),
    "gw_not_converged": ("task dft gw", "  * Result did not converge"),
    "scf_not_converged": ("task dft energy ignore", "      Calculation failed to converge"),
    "tddft_not_converged": ("task tddft energy ignore", " tddft_davidson: exceeded maxiter                   0"),
    "ccsd_not_converged": ("task ccsd energy ignore", "        ****maximum iterations exceeded****"),
    "tce_not_converged": ("task tce energy ignore", " Iterations for root   2 failed to converge"),
    "mcscf_not_converged": ("task mcscf energy ignore", "     --- maximum iterations reached ---"),
    "mepgs_not_converged": (
        "task scf mepgs ignore",
        " Failed to converge in maximum number of steps or available time",
    ),
    "optimization_not_converged": (
        "task dft optimize ignore",
        " Failed to converge in maximum number of steps or time",
    ),
}


def test_every_mark_of_the_table_is_tried() -> None:
    assert {mark.code for mark in unconverged.MARKS} == set(SAID)


@pytest.mark.parametrize("code", SAID)
def test_exit_0_is_no_success_where_a_task_did_not_converge(code: str, tmp_path: Path) -> None:
    task, line = SAID[code]
    converged = ENERGY.format("SCF", -1.5)
    log = log_of([("medium", converged), ("medium", f"{line}\n"), ("medium", converged)])
    outcome = judged(f"task scf energy\n{task}\ntask scf energy\n", log, tmp_path)
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", code, "method")
    assert outcome.evidence is not None
    assert outcome.evidence.text == line
    assert outcome.remedy
    assert [one["state"] for one in outcome.result["tasks"]] == ["succeeded", "failed", "succeeded"]


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("scf optimize", "optimization_not_converged"),
        ("dft energy", "scf_not_converged"),
        ("dft gradient", "scf_not_converged"),
        ("tce energy", "tce_not_converged"),
        ("ccsd(t) energy", "ccsd_not_converged"),
        ("selci energy", "task_failed"),
    ],
)
def test_a_failure_that_ignore_hides_has_its_code_even_where_nothing_else_is_printed(
    task: str, code: str, tmp_path: Path
) -> None:
    warning = f"  !! warning: {task} failed\n"
    log = log_of([("none", ""), ("none", warning), ("none", "")])
    outcome = judged(f"print none\ntask scf energy\ntask {task} ignore\ntask scf energy\n", log, tmp_path)
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", code, "method")
    assert [one["state"] for one in outcome.result["tasks"]] == ["succeeded", "failed", "succeeded"]


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        (
            "task pspw energy",
            " *** arived at the Maximum iteration.  terminated\n *** tolerance ok. iteration terminated\n",
        ),
        ("task pspw car-parrinello", " *** arived at the Maximum iteration.   terminated.\n"),
        ("task scf optimize", " Failed to converge in maximum number of steps\n      Optimization converged\n"),
        ("task mcscf energy", "     --- Warning: Precondition failed to converge:Residue: current= 0.5D-01 ---\n"),
        ("task python", "      Calculation failed to converge\n"),
        ("task scf energy", " WARNING: Foster-Boys solver not converged\n"),
    ],
)
def test_what_was_made_good_or_means_nothing_is_no_failure(task: str, lines: str, tmp_path: Path) -> None:
    assert judged(f"{task}\n", log_of([("medium", lines)]), tmp_path).state == "succeeded"


def test_the_energy_of_a_task_that_did_not_converge_is_none(tmp_path: Path) -> None:
    printed = "      Calculation failed to converge\n" + ENERGY.format("DFT", -1.5)
    outcome = judged("task dft energy ignore\n", log_of([("medium", printed)]), tmp_path)
    assert "energy_hartree" not in outcome.result


def test_an_output_that_lacks_a_task_is_no_success(tmp_path: Path) -> None:
    deck = "task scf energy\ntask mp2 energy\n"
    log = log_of([("medium", ENERGY.format("SCF", -1.5))])
    assert judged(deck, log, tmp_path).state == "failed"
    assert judged("task scf energy\n", HEADER + ENERGY.format("SCF", -1.5), tmp_path).state == "failed"
    assert judged(deck, log + END, tmp_path, Exit(1)).state == "failed"
