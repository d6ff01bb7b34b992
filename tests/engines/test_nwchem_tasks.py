"""What each task of an output came to, and whose energy that is, in the end and while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.input import asked, reader
from qmrunner.engines.nwchem.output.tasks import TaskReader
from tests.engines.nwchem_outputs import (
    ENERGY,
    ORDER,
    STEP,
    TDDFT,
    judged,
    log_of,
)
from tests.engines.support import step


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(ORDER), st.sampled_from(["scf", "dft", "mp2"])), min_size=1, max_size=7))
def test_tasks_and_their_output_belong_together_at_every_print_level(tasks: list[tuple[str, str]]) -> None:
    deck, printed = "", []
    for number, (level, theory) in enumerate(tasks, 1):
        deck += f"print {level}\ntask {theory} energy\n"
        # Each theory prints the energies of those below it, too.
        below = ENERGY.format("SCF", -1.0) if theory == "mp2" else ""
        own = ENERGY.format({"scf": "SCF", "dft": "DFT", "mp2": "MP2"}[theory], -10.0 - number)
        printed.append((level, "" if level == "none" else below + own))
    task_reader = TaskReader(asked.of_deck(reader.statements(deck.encode())), "log")
    for number, line in enumerate(log_of(printed).splitlines(), 1):
        task_reader.feed(line, number)
    records = task_reader.records()
    assert [record.asked.theory for record in records] == [theory for _, theory in tasks]
    assert all(record.ended for record in records)
    for number, (record, (level, theory)) in enumerate(zip(records, tasks, strict=True), 1):
        assert record.energy_hartree == (None if level == "none" else -10.0 - number)
        name = None if level == "none" else {"scf": "HF", "dft": "DFT", "mp2": "MP2"}[theory]
        assert record.energy_of == name


GRADIENT = ENERGY.format("SCF", -1.5) + ENERGY.format("SCF", -1.4) + ENERGY.format("SCF", -1.6)
EOM = (
    " CCSD total energy / hartree       =       -75.000000000000000\n Ground-state symmetry is a1\n"
    " Excited-state calculation ( b1  symmetry)\n Excited state root  1\n"
    " Excitation energy / hartree =        0.250000000000000\n"
    " Excited-state calculation ( a1  symmetry)\n Excited state root  1\n"
    " Excitation energy / hartree =        0.500000000000000\n Excited state root  2\n"
    " Excitation energy / hartree =        0.750000000000000\n"
)


@pytest.mark.parametrize(
    ("deck", "printed", "energy", "name"),
    [
        ("task scf energy", ENERGY.format("SCF", -1.5), -1.5, "HF"),
        ("task dft energy", ENERGY.format("DFT", -1.5), -1.5, "DFT"),
        ("dft; xc pbe0; end; task dft property", ENERGY.format("DFT", -1.5), -1.5, "PBE0"),
        ("task mp2 energy", ENERGY.format("SCF", -1.5), None, None),
        ("task direct_mp2 energy", "          Total MP2 energy           -1.600000000000\n", -1.6, "MP2"),
        ("task rimp2 energy", "          Total MP2 energy           -1.600000000000\n", -1.6, "RI-MP2"),
        ("dft; dftmp2; end; task dft energy", "  Total DFT+MP2 energy           -1.600000000000\n", -1.6, "DFT+MP2"),
        ("dft; dftmp2; end; task dft energy", ENERGY.format("DFT", -1.5), None, None),
        ("task ccsd energy", " Total MP2 energy:  -1.1\n Total CCSD energy:  -1.2\n", -1.2, "CCSD"),
        ("task ccsd(t) energy", " Total CCSD energy:  -1.2\n Total CCSD(T) energy:  -1.3\n", -1.3, "CCSD(T)"),
        ("task ccsd(t) energy", " Total CCSD energy:  -1.2\n", None, None),
        ("task pspw energy", " Total PSPW energy     :  -0.1136049006E+01\n", -1.136049006, "PSPW"),
        ("task mcscf energy", "       Total MCSCF energy =    -75.999831462025\n", -75.999831462025, "MCSCF"),
        ("tce; ccsd; nroots 1; end; task tce energy", EOM, -74.5, "EOM-CCSD root 1"),
        ("tce; ccsd; nroots 2; target 2; end; task tce energy", EOM, -74.25, "EOM-CCSD root 2"),
        ("tce; ccsd; nroots 1; targetsym b1; end; task tce energy", EOM, -74.75, "EOM-CCSD root 1"),
        ("tce; ccsd; end; task tce energy", EOM, -75.0, "CCSD"),
        ("task tddft energy", TDDFT, -1.853852885, "TDDFT root 1"),
        ("task tddft optimize", TDDFT + STEP.format(0, -1.85385289), -1.853852885, "TDDFT root 1"),
        ("task scf optimize", GRADIENT + STEP.format(0, -1.5), -1.5, "HF"),
        ("task scf optimize", STEP.format(0, -1.7), -1.7, "HF"),
        ("task scf freq numerical", GRADIENT, -1.5, "HF"),
        ("task scf gradient numerical", GRADIENT, -1.5, "HF"),
        ("task scf raman", GRADIENT, -1.5, "HF"),
        ("task scf qmd", GRADIENT, -1.6, "HF"),
        ("task scf neb", GRADIENT, None, None),
        ("task python", GRADIENT, None, None),
        (
            "bsse; mon a 1; mon b 2; end; task scf energy",
            GRADIENT + "       Corrected energy =    -1.450000000000\n",
            -1.45,
            "counterpoise-corrected",
        ),
    ],
)
def test_an_energy_is_that_of_theory_state_and_reference_geometry(
    deck: str, printed: str, energy: float | None, name: str | None, tmp_path: Path
) -> None:
    outcome = judged(f"{deck}\n", log_of([("medium", printed)]), tmp_path)
    assert outcome.state == "succeeded"
    assert outcome.result.get("energy_hartree") == (None if energy is None else pytest.approx(energy, abs=1e-12))
    assert outcome.result.get("energy_of") == name


def test_the_energy_of_a_deck_is_that_of_the_last_task_that_has_one(tmp_path: Path) -> None:
    deck = "dft; xc b3lyp; end\ntask dft optimize\ntask mp2 energy\ntask esp\n"
    mp2 = "          Total MP2 energy           -1.600000000000\n"
    log = log_of([("medium", ENERGY.format("DFT", -1.5)), ("medium", ENERGY.format("SCF", -1.2) + mp2), ("medium", "")])
    result = judged(deck, log, tmp_path).result
    assert (result["energy_hartree"], result["energy_of"]) == (-1.6, "MP2")
    assert [task.get("energy_of") for task in result["tasks"]] == ["B3LYP", "MP2", None]
    assert [task["task"] for task in result["tasks"]] == ["dft optimize", "mp2 energy", "esp"]


ITERATION = " d= 0,ls=0.0,diis     1   {:.10f} -1.22D+02  3.00D-02  9.60D-01     0.3\n"


def shown(deck: str, log: str, place: Path) -> list[float]:
    """The energies that progress shows, one after the other."""
    (place / "deck.nw").write_text(deck)
    following = NWChem().reader(step("nwchem", "deck", deck="deck.nw"), place)
    told = [following.feed(line) for line in log.splitlines(keepends=True)]
    return [one.energy_hartree for one in told if one is not None and one.energy_hartree is not None]


def test_progress_of_an_excited_state_never_shows_the_ground_state(tmp_path: Path) -> None:
    cycle = ITERATION.format(-2.0) + TDDFT + STEP.format(0, -1.85385289)
    assert shown("task tddft optimize\n", log_of([("medium", cycle * 2)]), tmp_path) == [
        -1.853852885, -1.85385289, -1.85385289,
    ]  # fmt: skip


def test_progress_shows_each_task_s_own_energy(tmp_path: Path) -> None:
    log = log_of(
        [("medium", ITERATION.format(-2.0)), ("medium", ENERGY.format("SCF", -1.0) + " Total CCSD energy: -1.2\n")]
    )
    assert shown("task dft energy\ntask ccsd energy\n", log, tmp_path) == [-2.0, -1.2]
