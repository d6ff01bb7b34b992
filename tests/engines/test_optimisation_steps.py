"""The steps of an optimisation as NWChem and xTB write them, and the OptimizationResult that is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines import qcschema, qcschema_input, qcschema_result
from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.output.steps import OptimisationSteps
from qmrunner.engines.xtb.read import frames
from tests.engines.support import FIXTURES

RECORDED = sorted(
    path.parent.name
    for path in FIXTURES.glob("nwchem/*/stdout.txt")
    if "NWChem Geometry Optimization" in path.read_text(errors="replace")
)


def steps(text: str, asked: Asked) -> OptimisationSteps:
    reader = OptimisationSteps(asked)
    for number, line in enumerate(text.splitlines(), start=1):
        reader.feed(line, number)
    return reader


@pytest.mark.parametrize("name", RECORDED)
def test_each_line_of_the_optimiser_is_a_point_with_its_energy(name: str) -> None:
    """The table that NWChem prints, line by line, is the reference. A run that was cut has fewer points."""
    text = (FIXTURES / "nwchem" / name / "stdout.txt").read_text(errors="replace")
    text = text.split("Task  times  cpu:")[0]
    printed = dict.fromkeys(
        (words[1], float(words[2]))
        for line in text.splitlines()
        if (words := line.split())[:1] == ["@"] and words[1].isdigit()
    )
    theory = "dft" if "DFT ENERGY GRADIENTS" in text else "scf"
    found = steps(text, Asked(theory, "optimize")).points
    assert [round(point.energy_hartree, 8) for point in found] == [energy for _, energy in printed]
    assert all(point.gradient is not None and len(point.gradient) == 3 * len(point.geometry.atoms) for point in found)
    assert len({point.geometry.xyz for point in found}) == len(found)


def test_points_without_a_geometry_are_not_shifted_to_their_neighbours() -> None:
    text = (FIXTURES / "nwchem/ok-opt-water-hf/stdout.txt").read_text()
    assert len(steps(text, Asked("scf", "optimize")).points) == 4
    first, second, rest = text.partition("          Step   2\n")
    lost = first + second + rest.replace("Output coordinates in angstroms", "Output", 1)
    assert steps(lost, Asked("scf", "optimize")).points == []


FRAME = "2\n energy: -1.25 gnorm: 0.1 xtb: 6.5.1\nH 0.0 0.0 0.0\nH 0.0 0.0 0.74\n"


@pytest.mark.parametrize(
    ("text", "energies"),
    [
        (FRAME + FRAME.replace("-1.25", "-1.50"), [-1.25, -1.5]),
        ("", []),
        (FRAME[:-8], []),
        (FRAME + FRAME[:20], []),
        (FRAME.replace("energy", "enrgy"), []),
        (FRAME.replace("-1.25", "NaN"), []),
        (FRAME + FRAME.replace("2\n", "3\n", 1), []),
        (FRAME.replace("0.74", "x"), []),
        (FRAME.replace("2\n", "-2\n", 1), []),
        (FRAME * 5, []),
    ],
)
def test_a_trajectory_of_xtb_is_read_whole_or_not_at_all(text: str, energies: list[float], tmp_path: Path) -> None:
    (tmp_path / "xtbopt.log").write_text(text)
    assert [frame.energy_hartree for frame in frames(tmp_path / "xtbopt.log", 20)] == energies


GIVEN: dict[str, Any] = {
    "schema_name": "qcschema_optimization_input",
    "schema_version": 1,
    "keywords": {},
    "input_specification": {"driver": "gradient", "model": {"method": "GFN2-xTB"}},
    "initial_molecule": {"symbols": ["H", "H"], "geometry": [0, 0, 0, 0, 0, 1.6]},
}


def run(length: float, energy: float) -> qcschema.Run:
    return qcschema.Run(
        program="xtb",
        version="6.5.1",
        driver="energy",
        method="GFN2-xTB",
        basis=None,
        symbols=("H", "H"),
        coordinates_bohr=(0.0, 0.0, 0.0, 0.0, 0.0, length),
        charge=0,
        multiplicity=1,
        energy_hartree=energy,
    )


PATH = [run(1.6, -0.9), run(1.5, -0.95), run(1.4, -0.98)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("path", "protocol", "energies", "kept", "held"),
    [
        (PATH, "all", [-0.9, -0.95, -0.98], 3, "every step"),
        (PATH[:2], "all", [-0.9, -0.95, -0.98], 3, "every step"),
        (PATH, "initial_and_final", [-0.9, -0.95, -0.98], 2, "every step"),
        (PATH, "final", [-0.9, -0.95, -0.98], 1, "every step"),
        (PATH, "none", [-0.9, -0.95, -0.98], 0, "every step"),
        (PATH[1:], "all", [-0.95, -0.98], 2, "the steps after the run was resumed"),
        ([], "all", [-0.98], 1, "the last point only"),
        ([replace(PATH[0], symbols=("H", "He")), PATH[1]], "all", [-0.98], 1, "the last point only"),
        ([replace(PATH[0], energy_hartree=float("nan")), PATH[1]], "all", [-0.98], 1, "the last point only"),
    ],
)
def test_the_result_has_the_steps_that_the_output_holds(
    path: list[qcschema.Run], protocol: str, energies: list[float], kept: int, held: str
) -> None:
    models = pytest.importorskip("qcelemental.models.v1")
    request = qcschema_input.read(json.dumps(GIVEN | {"protocols": {"trajectory": protocol}}), "input.json")
    text = qcschema_result.document(run(1.4, -0.98), request, path)
    assert text is not None
    found = models.OptimizationResult(**json.loads(text))
    assert found.energies == energies
    assert [point.properties.return_energy for point in found.trajectory] in (
        energies[:kept],
        energies[-kept:],
        energies[:: max(1, len(energies) - 1)],
    )
    assert len(found.trajectory) == kept == len(json.loads(text)["trajectory"])
    assert found.extras["qmrunner"]["trajectory"] == held
    assert found.final_molecule.geometry[1][2] == 1.4
