"""A correlated method that was to freeze more orbitals than there are, whatever way NWChem ended. Seen in runs of 7.0.2
on water (STO-3G: five occupied orbitals, two virtual ones) and its cation."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.input import asked, reader
from qmrunner.engines.nwchem.output import frozen
from qmrunner.engines.nwchem.output.energies import Energy
from qmrunner.engines.nwchem.output.tasks import Record
from qmrunner.model.jobs import Exit
from tests.engines.errquit_blocks import block
from tests.engines.support import step
from tests.engines.test_nwchem_real import DECK, MISSING, run

HF = "  functions       =     7\n  atoms           =     3\n  closed shells   =     {0}\n  open shells     =     {1}\n"
UHF = "  functions       =     7\n  alpha electrons =     5\n  beta  electrons =     4\n"
TCE = """           Alpha electrons :     {0}
            Beta electrons :     {1}
            Alpha orbitals :     7
             Beta orbitals :     7
        Alpha frozen cores :     {2}
         Beta frozen cores :     {2}
     Alpha frozen virtuals :     {3}
      Beta frozen virtuals :     {3}
"""
TILES = block("tce_tile: MA problem", "MEM_ERR")
SCAN = "MA_verify_allocator_stuff: starting scan ...\n\nProgram received signal SIGSEGV: Segmentation fault - invalid\n"
MAP = block("moints: bad map?", "INPUT_ERR")
WRONG = "[0] ARMCI Error: 0:wrong dimension specified:\n"
DIVIDED = "mpirun noticed that process rank 0 with PID 0 on node x exited on signal 8 (Floating point exception).\n"
# (block, task, what NWChem printed, exit status, the numbers in the remedy)
TOO_MANY: list[tuple[str, str, str, int, str]] = [
    ("tce; freeze 9; ccsd; end", "tce", TCE.format(5, 5, 9, 0) + TILES, 255, "9 core 5"),
    ("tce; freeze core 6; mbpt2; end", "tce", TCE.format(5, 5, 6, 0) + SCAN, 139, "6 core 5"),
    ("tce; freeze virtual 3; end", "tce", TCE.format(5, 5, 0, 3) + SCAN, 139, "3 virtual 2"),
    ("tce; freeze 5; end", "tce", UHF + TCE.format(5, 4, 5, 0) + SCAN, 139, "5 core 4"),
    ("mp2; freeze 7; end", "mp2 gradient", HF.format(5, 0) + MAP, 255, "7 core 5"),
    ("mp2; freeze virtual 2; end", "mp2", HF.format(5, 0) + DIVIDED, 136, "2 virtual 2"),
    ("mp2; freeze core 6; end", "direct_mp2", HF.format(5, 0) + WRONG, 255, "6 core 5"),
    ("ccsd; freeze 5; end", "ccsd", HF.format(5, 0) + WRONG, 255, "5 core 5"),
    ("ccsd; freeze core 9 virtual 1; end", "ccsd(t)", HF.format(5, 0) + WRONG, 241, "9 core 5"),
]  # fmt: skip
# The same ends without that cause: another code.
ANOTHER: list[tuple[str, str, str, int, str]] = [
    ("tce; freeze 1; ccsd; end", "tce", TCE.format(5, 5, 1, 0) + TILES, 255, "memory_exhausted"),
    ("tce; freeze atomic; ccsd; end", "tce", TCE.format(5, 5, 1, 0) + SCAN, 139, "memory_corrupt"),
    ("mp2; freeze 4 virtual 1; end", "mp2", HF.format(5, 0) + DIVIDED, 136, "crashed"),
    ("mp2; freeze 9; end", "scf", HF.format(5, 0) + DIVIDED, 136, "crashed"),
    ("mp2; freeze 9; end", "mp2", DIVIDED, 136, "crashed"),  # how many there are was not printed
    ("mp2; freeze 9; end", "mp2", HF.format(5, 0), 143, "terminated"),
]


def sentence(words: str) -> str:
    frozen, kind, there = words.split()
    return f"{frozen} {kind} orbitals, and the molecule has {there} of them"


def outcome_of(frozen: str, task: str, printed: str, status: int, place: Path) -> tuple[str, str | None, str]:
    (place / "input.nw").write_text(DECK.replace("task scf", f"{frozen}\ntask {task}"))
    log = place / "step.1.log"
    log.write_text(f"{printed}\n")
    outcome = NWChem().interpret(step("nwchem", "deck", deck="input.nw"), place, log, Exit(status))
    return outcome.code, outcome.failure_class, outcome.remedy or ""


@pytest.mark.parametrize(("frozen", "task", "printed", "status", "words"), TOO_MANY, ids=[row[0] for row in TOO_MANY])
def test_too_many_frozen_orbitals_are_an_error_of_the_deck(
    frozen: str, task: str, printed: str, status: int, words: str, tmp_path: Path
) -> None:
    code, kind, remedy = outcome_of(frozen, task, printed, status, tmp_path)
    assert (code, kind) == ("input_error", "permanent")
    assert sentence(words) in remedy
    assert f"{frozen.split(';')[0]} block" in remedy


@pytest.mark.parametrize(("frozen", "task", "printed", "status", "code"), ANOTHER, ids=[row[0] for row in ANOTHER])
def test_a_freeze_that_fits_explains_nothing(
    frozen: str, task: str, printed: str, status: int, code: str, tmp_path: Path
) -> None:
    assert outcome_of(frozen, task, printed, status, tmp_path)[0] == code


@pytest.mark.engine
@pytest.mark.timeout(450)
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
@pytest.mark.parametrize("case", [1, 5], ids=lambda case: TOO_MANY[case][0])
def test_the_real_nwchem_crashes_and_the_deck_is_named(case: int, tmp_path: Path) -> None:
    frozen, task, _, _, words = TOO_MANY[case]
    path = tmp_path / "input.nw"
    path.write_text(DECK.replace("task scf", f"{frozen}\ntask {task}"))
    outcome = run(step("nwchem", "deck", deck="input.nw"), {"input.nw": path}, tmp_path / "attempt", cores=1)
    assert outcome.code == "input_error"
    assert sentence(words) in (outcome.remedy or "")


# (block and task, name of the energy and how far it is from HF, name in the result, whether there is a note)
NOTHING_LEFT: list[tuple[str, str, float, str, bool]] = [
    ("tce; freeze 5; ccsd; end\ntask tce", "CCSD", 3e-10, "HF", True),
    ("tce; freeze core 5; mbpt4; end\ntask tce gradient", "MBPT(4)", 0.0, "HF", True),
    ("tce; freeze virtual 2; cisd; end\ntask tce", "CISD", 0.0, "HF", True),
    ("tce; freeze 4; ccsd; end\ntask tce", "CCSD", 3e-12, "HF", True),  # a cation: one electron is left
    ("tce; freeze 5; end\ntask uccsd", "CCSD", 0.0, "HF", True),
    ("mp2; freeze 5; end\ntask mp2", "MP2", 0.0, "HF", True),
    ("tce; freeze 5; ccsd; end\ntask scf", "HF", 0.0, "HF", False),
    ("tce; freeze 4; ccsd; end\ntask tce", "CCSD", -1e-4, "CCSD", False),
    ("tce; ccsd; end\ntask tce", "CCSD", 0.0, "CCSD", False),  # one electron: HF is exact, and so is CCSD
    ("mp2; freeze 5; end\ntce; ccsd; end\ntask tce", "CCSD", 0.0, "CCSD", False),
]  # fmt: skip


@pytest.mark.parametrize(("deck", "method", "off", "name", "noted"), NOTHING_LEFT, ids=[row[0] for row in NOTHING_LEFT])
def test_an_energy_without_correlation_is_not_named_after_the_method(
    deck: str, method: str, off: float, name: str, noted: bool
) -> None:
    (task,) = asked.of_deck(reader.statements(deck.encode()))
    record = Record(1, task, 1, 9, True, Energy(-74.963177227 + off, method))
    found, note = frozen.named(record, {"HF": -74.963177227, method: -74.963177227 + off})
    assert (found.energy_hartree, found.energy_of) == (record.energy_hartree, name)
    assert (note is not None) == noted
    assert note is None or f"{method} adds nothing" in note
