"""Numbers of NWChem go to the atoms and geometries that they belong to: ghosts, chosen nuclei, finite differences.

The lines are those that NWChem 7.0.2 printed for small molecules.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.output.electrons import Charges
from qmrunner.engines.nwchem.output.energies import EnergyReader
from qmrunner.engines.nwchem.output.quantities import Task
from qmrunner.engines.nwchem.output.response import Excitations
from qmrunner.engines.nwchem.output.vibrations import Vibrations
from qmrunner.engines.nwchem.read import Shieldings
from qmrunner.model.jobs import Exit
from tests.engines.errquit_blocks import block
from tests.engines.support import step

ATOMS = [("O", 8, 8.4), ("H", 1, 0.8), ("H", 1, 0.8)]
ORDERS = [ATOMS, *([*ATOMS[:at], ("bq", 0, 0.01), *ATOMS[at:]] for at in range(4))]


def shielding(number: int, tag: str, value: float) -> list[str]:
    return [f"      Atom: {number:4d}  {tag:2s}", f"           isotropic = {value:13.4f}"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_ghost_takes_no_atom_s_shielding(order: list[tuple[str, int, float]]) -> None:
    reader = Shieldings()
    lines = ["           Chemical Shielding Tensors (GIAO, in ppm)"]
    for number, (tag, charge, _) in enumerate(order, 1):
        lines += shielding(number, tag, charge * 10.0)
    for number, line in enumerate(lines, 1):
        reader.feed(line, number)
    found = [(value["atom"], value["element"], value["isotropic_ppm"]) for value in reader.complete()]
    assert found == [(n, tag.capitalize(), charge * 10.0) for n, (tag, charge, _) in enumerate(order, 1)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["property", "shells"])
def test_charges_are_those_of_the_atoms_in_their_order(order: list[tuple[str, int, float]], form: str) -> None:
    if form == "property":
        lines = ["          ----- Total      gross population on atoms ----", ""]
        lines += [
            f"           {n:4d}  {tag:2s} {charge:5.1f} {count:11.5f}"
            for n, (tag, charge, count) in enumerate(order, 1)
        ]
    else:
        lines = [
            "  Mulliken analysis of the total density",
            "  ------",
            "",
            "    Atom       Charge   Shell Charges",
            " ---",
        ]
        tags = [("X" if tag == "bq" else tag, charge, count) for tag, charge, count in order]
        lines += [
            f" {n:4d} {tag:2s} {charge:4d} {count:8.2f} {count:6.2f}" for n, (tag, charge, count) in enumerate(tags, 1)
        ]
    reader = Charges()
    for line in [*lines, ""]:
        reader.feed(line)
    assert reader.found()["charges_e"] == pytest.approx([-0.4, 0.2, 0.2])


@pytest.mark.parametrize(
    ("words", "atoms"),
    [
        ("", [1, 2]),
        ("2 3 1", [3, 1]),
        ("2 3 1\n dipole", [3, 1]),
        ("2 3 1\nend\nproperty\n shielding", [3, 1]),
        ("2 1 3", [1, 3]),
        ("2 2 3", [2, 3]),
        ("3 1 2 3", [1, 2]),
    ],
)
def test_chosen_nuclei_keep_their_numbers(words: str, atoms: list[int], tmp_path: Path) -> None:
    (tmp_path / "in.nw").write_text(f"start x\nproperty\n shielding {words}\nend\ntask dft property\n")
    log = tmp_path / "log"
    lines = ["           Chemical Shielding Tensors (GIAO, in ppm)", *shielding(1, "H", 30.0), *shielding(2, "H", 31.0)]
    lines += [
        " Task  times  cpu:        0.1s     wall:        0.2s",
        " CITATION",
        " Total times  cpu:  1.0s  wall: 1.0s",
    ]
    log.write_text("\n".join(lines) + "\n")
    outcome = NWChem().interpret(step("nwchem", "deck", deck="in.nw"), tmp_path, log, Exit(returncode=0))
    assert outcome.state == "succeeded", outcome.evidence
    assert [value["atom"] for value in outcome.result["shieldings"]] == atoms


def evaluation(theory: str, energy: float, occupied: float) -> list[str]:
    return [
        "         Total SCF energy =    -74.9",
        f"         Total {theory} energy {energy:20.12f}",
        "                       ROHF Final Molecular Orbital Analysis",
        f" Vector    5  Occ=2.000000D+00  E={occupied:.6E}".replace("E+", "D+").replace("E-", "D-"),
    ]


@pytest.mark.parametrize("theory", ["CCSD", "MP2", "DFT"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_finite_differences_leave_the_quantities_of_the_structure(theory: str, steps: int) -> None:
    task = Task(1)
    for at in range(steps + 1):
        task_lines = [f"@ {at:4d}     -75.00000000 -6.1D-03  0.00517", *evaluation(theory, -75.5, -0.9)] if at else []
        task_lines += ["                         NWChem Numerical Gradients Module"]
        task_lines += evaluation(theory, -75.0 - at, -0.5)
        task_lines += [f" Saving state for {theory.lower()} with suffix numg", " Finite difference step  1.00000D-02"]
        task_lines += [*evaluation(theory, -60.0, -0.1), *evaluation(theory, -61.0, -0.2)]
        for line in task_lines:
            task.feed(line)
    if steps:
        task.feed(f"@ {steps + 1:4d}     -75.00000000 -6.1D-03  0.00517")
    found = task.found()
    assert found["homo_ev"] == pytest.approx(-0.5 * 27.2114, abs=1e-3)
    assert found["energies_hartree"][theory] == pytest.approx(-75.0 - steps)


@pytest.mark.parametrize("symmetry", ["a", "a1", "b1", "b2g"])
def test_a_state_of_coupled_cluster_has_the_symmetry_of_its_calculation(symmetry: str) -> None:
    reader = Excitations()
    for line in (
        f" Excited-state calculation ( {symmetry:4s}symmetry)",
        " Excited state root  1",
        " Excitation energy / hartree =        0.456622948716040",
    ):
        reader.feed(line)
    (state,) = reader.found()["excitations"]
    assert (state["symmetry"], state["energy_ev"]) == (symmetry, 12.425343)


@pytest.mark.parametrize(
    ("ions", "name"), [("", "EOM-CCSD root 1"), ("IP-", "IP-EOM-CCSD root 1"), ("EA-", "EA-EOM-CCSD root 1")]
)
def test_a_state_of_an_ion_is_called_so(ions: str, name: str) -> None:
    reader = EnergyReader(Asked("tce", "energy", method="CCSD", root=1, ions=ions))
    for number, line in enumerate(
        [
            " CCSD total energy / hartree       =       -75.009060926532499",
            " Excited state root  1",
            " Excitation energy / hartree =        0.310603340892241",
        ]
    ):
        reader.feed(line, number)
    assert reader.found is not None
    assert (reader.found.of, reader.found.hartree) == (name, pytest.approx(-74.698457585640))
    assert reader.name == name


@pytest.mark.parametrize(("modes", "vibrations"), [(3, 0), (6, 1), (9, 3), (12, 6)])
def test_of_two_atoms_there_is_one_vibration_whatever_else_is_printed(modes: int, vibrations: int) -> None:
    reader = Vibrations()
    values = [0.0] * (modes - vibrations) + [1000.0 + n for n in range(vibrations)]
    lines = [
        " Projected Infra Red Intensities",
        *(f"   {n:3d} {value:12.3f} ||  0.1  0.2  0.3  0.4" for n, value in enumerate(values, 1)),
        " ---",
    ]
    for line in lines:
        reader.feed(line)
    assert len(reader.found()["frequencies_cm1"]) == vibrations


@pytest.mark.parametrize(("kept", "code"), [(2, "geometry_bad"), (3, "charge_multiplicity")])
def test_electrons_that_do_not_fit_are_reported_as_the_atoms_that_coincide(
    kept: int, code: str, tmp_path: Path
) -> None:
    rows = ["O 0 0 0.1", "H 0 0.7 -0.4", "H 0 0.7 -0.4" if kept == 2 else "H 0 -0.7 -0.4"]
    (tmp_path / "in.nw").write_text("\n".join(["start x", "geometry", *rows, "end", "task scf", ""]))
    printed = ["O   8.0000 0.0 0.0 0.1", "H   1.0000 0.0 0.7 -0.4", "H   1.0000 0.0 -0.7 -0.4"][:kept]
    lines = [" Output coordinates in angstroms (scale by  1.889725989 to convert to a.u.)", ""]
    lines += [*(f"    {number} {row}" for number, row in enumerate(printed, 1)), ""]
    log = tmp_path / "log"
    said = "scf: no. of closed-shell electrons is not even!"
    log.write_text("\n".join(lines) + "\n" + block(said, "INPUT_ERR"))
    outcome = NWChem().interpret(step("nwchem", "deck", deck="in.nw"), tmp_path, log, Exit(returncode=255))
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", code, "permanent")
