"""Progress is reported while NWChem runs, from the lines it really writes."""

from __future__ import annotations

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.model.jobs import Progress
from tests.engines.support import FIXTURES, step


def told(case: str) -> list[Progress]:
    reader = NWChem().reader(step("nwchem", "deck"))
    text = (FIXTURES / "nwchem" / case / "stdout.txt").read_text(errors="replace")
    return [progress for line in text.splitlines(keepends=True) if (progress := reader.feed(line))]


def test_an_optimisation_reports_step_energy_and_gradient() -> None:
    steps = [progress for progress in told("ok-opt-water-cosmo") if progress.gradient is not None]
    assert [progress.iteration for progress in steps] == [0, 1, 2, 3, 3]
    assert steps[-1].energy_hartree == -76.41864664
    assert steps[-1].gradient == 0.0
    assert steps[0].text is not None
    assert steps[0].text.startswith("step 0: -76.41")


def test_dft_iterations_report_energy_and_residual_and_the_step_they_belong_to() -> None:
    iterations = [progress for progress in told("ok-opt-water-cosmo") if progress.phase == "scf" and progress.residual]
    assert iterations[0].iteration == 1
    assert iterations[0].energy_hartree == pytest.approx(-76.37, abs=0.05)
    assert (iterations[0].text or "").startswith("SCF iteration 1")
    assert (iterations[-1].text or "").startswith("after step ")


def test_hartree_fock_iterations_report_energy_and_residual() -> None:
    iterations = [progress for progress in told("ok-energy-water-hf") if progress.residual is not None]
    assert iterations[-1].energy_hartree == pytest.approx(-74.96, abs=1.5)
    assert iterations[-1].iteration == len(iterations)


def test_the_response_reports_its_residual_and_the_shieldings_their_atoms() -> None:
    progress = told("ok-nmr-methanol-cosmo-v7.2.3")
    response = [one for one in progress if one.phase == "response" and one.residual is not None]
    assert [(one.iteration, one.residual) for one in response] == [(1, 0.276), (2, 8.19e-3), (3, 3.39e-4), (4, 9.72e-6)]
    assert [one.iteration for one in progress if one.phase == "shielding"] == [1, 2, 3, 4, 5, 6]
    assert progress[-1].phase == "done"


def test_phases_come_in_the_order_of_the_run() -> None:
    phases: list[str] = []
    for progress in told("ok-three-tasks-water"):
        if progress.phase and (not phases or phases[-1] != progress.phase):
            phases.append(progress.phase)
    order = [phases.index(name) for name in ("optimisation", "optimised", "hessian", "property", "done")]
    assert order == sorted(order)


def test_every_successful_run_reports_progress_and_nothing_is_invented() -> None:
    for path in sorted((FIXTURES / "nwchem").glob("ok-*")):
        progress = told(path.name)
        assert progress, path.name
        energies = [one.energy_hartree for one in progress if one.energy_hartree is not None]
        assert all(energy < 0 for energy in energies), path.name


@pytest.mark.parametrize(
    "line", ["", "\n", "@ Step  Energy\n", "@ ----\n", "@\n", " d= x\n", "\x00\xff\n", "1 2 3D-01\n"]
)
def test_lines_that_report_nothing_are_none(line: str) -> None:
    assert NWChem().reader(step("nwchem", "deck")).feed(line) is None
