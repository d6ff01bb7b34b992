"""A title is the user's text: whatever its words, NWChem's own lines decide about success, energy and quantities."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.nwchem.engine import NWChem
from qmrunner.model.jobs import Exit
from tests.engines.nwchem_outputs import BANNER, END, ENERGY, HEADER, TIMES, judged
from tests.engines.support import step
from tests.engines.test_nwchem_real import MISSING, run

# Every one of them is a line, or the beginning of a line, that NWChem prints itself.
TITLES = (
    "Total SCF energy =   -99.000000",
    "NWChem Geometry Optimization",
    "Calculation failed to converge",
    "!! warning: scf energy failed",
    "Failed to converge in maximum number of steps or available time",
    "NWChem Input Module",
    "Task  times  cpu:        0.1s     wall:        0.1s",
    "CITATION",
    "spring length and energy    :   1.8       0.4",
    "@    7   -99.12345678  0.0D+00  0.0 0.0 0.0 0.0 1.0",
    "Projected Infra Red Intensities",
    "a title of more than eighty columns, which NWChem prints from the margin on: Total SCF energy = -99.0",
    "Länge: Total SCF energy =   -99.000000",
)


def printed(title: str) -> str:
    """As NWChem prints it: around column 40, counted in bytes, and at the margin."""
    return " " * (1 + max(0, 40 - len(title.encode()) // 2)) + title + "\n" + title + "\n"


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("operation", ["energy", "gradient", "freq"])
def test_a_title_is_no_result(title: str, operation: str, tmp_path: Path) -> None:
    deck = f'start x\ntitle "{title}"\ntask scf {operation}\n'
    body = printed(title) + ENERGY.format("SCF", -1.5) + printed(title)
    outcome = judged(deck, HEADER + BANNER + body + TIMES + BANNER + END, tmp_path)
    assert outcome.state == "succeeded", outcome.evidence
    assert (outcome.result["energy_hartree"], outcome.result["energy_of"]) == (-1.5, "HF")


def test_a_title_is_no_reason_of_a_failure(tmp_path: Path) -> None:
    title = "insufficient memory, no space left on device"
    deck = f'start x\ntitle "{title}"\ntask scf energy\n'
    log = HEADER + BANNER + printed(title) + " scf: no. of closed-shell electrons is not even!\n"
    outcome = judged(deck, log, tmp_path, Exit(1))
    assert outcome.code == "charge_multiplicity"
    assert outcome.evidence is not None
    assert title not in outcome.evidence.text


def test_a_title_is_no_progress(tmp_path: Path) -> None:
    (tmp_path / "deck.nw").write_text(f'title "{TITLES[0]}"\ntask scf energy\n')
    reader = NWChem().reader(step("nwchem", "deck", deck="deck.nw"), tmp_path)
    assert [reader.feed(line) for line in printed(TITLES[0]).splitlines()] == [None, None]
    progress = reader.feed(ENERGY.format("SCF", -1.5))
    assert progress is not None
    assert progress.energy_hartree == -1.5


@pytest.mark.engine
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
def test_the_real_program_prints_a_title_where_it_is_looked_for(tmp_path: Path) -> None:
    """A gradient of the first energy printed, and an optimisation that failed by its title."""
    for at, title in enumerate(("Total SCF energy =   -99.000000", "Optimization: Calculation failed to converge")):
        deck = tmp_path / f"{at}.nw"
        deck.write_text(
            f'start h2\ntitle "{title}"\ngeometry noautosym\n H 0 0 -0.37\n H 0 0 0.37\nend\n'
            "basis\n * library sto-3g\nend\ntask scf gradient\ntask scf optimize\n"
        )
        outcome = run(step("nwchem", "deck", deck=deck.name), {deck.name: deck}, tmp_path / f"run{at}")
        assert outcome.state == "succeeded", outcome.evidence
        gradient, optimisation = outcome.result["tasks"]
        assert gradient["energy_hartree"] == pytest.approx(-1.116759, abs=1e-5)
        assert optimisation["energy_hartree"] == pytest.approx(-1.117506, abs=1e-5)
