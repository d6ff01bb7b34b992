"""Of a deck with several tasks, the values of a run belong to one structure, one state and one task at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.nwchem.input import asked, reader
from qmrunner.engines.nwchem.output import together
from qmrunner.engines.nwchem.output.tasks import Record
from tests.engines.nwchem_outputs import judged, log_of

AT_298 = {"temperature_k": 298.15, "entropy_cal_mol_k": 46.6, "enthalpy_hartree": -1.0, "free_energy_hartree": -1.1}
ONE = [{"temperature_k": 298.15}]
TWO = [{"temperature_k": 200.0}, {"temperature_k": 400.0}]
WATER, HELIUM = "geometry; O 0 0 0; H 0 0 1; H 0 1 0; end\n", "geometry units au; He 0 0 0; end\n"
# (deck, the quantities of each task, those of the run)
DECKS: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    (f"{WATER}task scf\n{HELIUM}task scf\n", [{"charges_e": [-0.4, 0.2, 0.2]}, {}], {}),
    (f"{WATER}task scf\ntask mp2\n", [{"charges_e": [-0.4, 0.2, 0.2]}, {}], {"charges_e": [-0.4, 0.2, 0.2]}),
    (
        "geometry a; He 0 0 0; end\ngeometry b; H 0 0 0; end\nset geometry a\ntask scf\nset geometry b\ntask scf\n",
        [{"homo_ev": -25.0}, {"dipole_debye": 0.0}],
        {"dipole_debye": 0.0},
    ),
    (
        "geometry a; He 0 0 0; end\nset geometry a\ntask scf\nset driver:trust 0.1\ntask scf property\n",
        [{"homo_ev": -25.0}, {"dipole_debye": 0.0}],
        {"homo_ev": -25.0, "dipole_debye": 0.0},
    ),
    (f"{WATER}task scf freq\ntask scf freq\n", [{"thermochemistry": ONE, **AT_298}, {"thermochemistry": TWO}],
     {"thermochemistry": TWO}),
    (f"{WATER}task scf freq\ntask mp2\n", [{"thermochemistry": ONE, **AT_298}, {"dipole_debye": 1.0}],
     {"thermochemistry": ONE, **AT_298, "dipole_debye": 1.0}),
    (f"{WATER}task scf\ntask scf\n", [{"homo_ev": -9.0, "lumo_ev": 1.0, "gap_ev": 10.0, "spin_squared": 2.0},
     {"homo_ev": -8.0}], {"homo_ev": -8.0}),
    (f"{WATER}task scf\ntask scf\n", [{"charges_e": [0.0], "spin_populations": [1.0]}, {"charges_e": [0.1]}],
     {"charges_e": [0.1]}),
    (f"{WATER}task dft property\ntask dft property\n", [{"polarizabilities": [1], "polarizability_au": 9.0},
     {"polarizabilities": [1, 2]}], {"polarizabilities": [1, 2]}),
    (f"{WATER}task scf vscf\ntask scf freq\n", [{"frequencies_cm1": [1.0], "anharmonic_frequencies_cm1": [0.9]},
     {"frequencies_cm1": [2.0]}], {"frequencies_cm1": [2.0]}),
    (f"{WATER}task scf freq\ntask scf raman\n", [{"frequencies_cm1": [1.0]}, {"raman": [3]}],
     {"frequencies_cm1": [1.0], "raman": [3]}),
]  # fmt: skip


@pytest.mark.parametrize(("deck", "by_task", "expected"), DECKS)
def test_what_belongs_together_is_of_one_task(
    deck: str, by_task: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    tasks = asked.of_deck(reader.statements(deck.encode()))
    records = [Record(number, task, 1, 9, True) for number, task in enumerate(tasks, start=1)]
    assert together.of_tasks(records, by_task) == expected


STATE = " Vector    1  Occ=1.000000D+00  E=-4.631296D-01  Symmetry=a1\n"


@pytest.mark.parametrize(("converged", "there"), [(True, True), (False, False)])
def test_orbitals_that_are_no_solution_have_no_values(converged: bool, there: bool, tmp_path: Path) -> None:
    printed = ("" if converged else "      Calculation failed to converge\n") + STATE
    outcome = judged("task dft energy\n", log_of([("medium", printed)]), tmp_path)
    assert outcome.code == ("ok" if converged else "scf_not_converged")
    assert ("homo_ev" in outcome.result) == there
