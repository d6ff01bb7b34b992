"""The real NWChem: tasks whose success, energy or geometry its output hides, or puts among those of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.model.jobs import Outcome
from tests.engines.support import step
from tests.engines.test_nwchem_real import MISSING, run

pytestmark = [pytest.mark.engine, pytest.mark.skipif(MISSING, reason="nwchem is not installed")]

H2 = "geometry noautosym\n H_a 0 0 -0.4\n H_b 0 0 0.4\nend\nbasis\n * library sto-3g\nend\n"
MINIMUM = -1.11750588  # hartree: STO-3G, restricted Hartree-Fock, at 0.7122 angstrom


def outcome_of(deck: str, place: Path) -> Outcome:
    path = place / "deck.nw"
    path.write_text(deck)
    return run(step("nwchem", "deck", deck="deck.nw"), {"deck.nw": path}, place / "attempt", cores=1)


@pytest.mark.parametrize("level", ["none", "low", "medium"])
def test_no_print_level_takes_success_energy_or_geometry(level: str, tmp_path: Path) -> None:
    outcome = outcome_of(f"start h2\nprint {level}\n{H2}task scf optimize\ntask scf energy\n", tmp_path)
    assert outcome.state == "succeeded", outcome.evidence
    assert outcome.result["energy_hartree"] == pytest.approx(MINIMUM, abs=1e-6)
    assert outcome.result["energy_of"] == "HF"
    count, comment, first, second = (tmp_path / "attempt/geometry.xyz").read_text().splitlines()
    assert (count, comment.split(":")[0]) == ("2", "task 1 of 2, scf optimize")
    assert [first.split()[0], second.split()[0]] == ["H", "H"]
    assert float(second.split()[3]) - float(first.split()[3]) == pytest.approx(0.7122, abs=1e-3)


@pytest.mark.parametrize("level", ["none", "medium"])
def test_no_print_level_hides_what_ignore_passes_over(level: str, tmp_path: Path) -> None:
    deck = f"start h2\nprint {level}\n{H2}driver; maxiter 1; end\ntask scf optimize ignore\ntask scf energy\n"
    outcome = outcome_of(deck.replace("0.4", "0.6"), tmp_path)
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", "optimization_not_converged", "method")


def test_an_energy_by_finite_differences_is_that_of_the_reference(tmp_path: Path) -> None:
    deck = f"start h2\n{H2.replace(' noautosym', '')}task scf energy\ntask scf gradient numerical\n"
    outcome = outcome_of(deck, tmp_path)
    energy, gradient = outcome.result["tasks"]
    assert outcome.state == "succeeded", outcome.evidence
    assert energy["energy_of"] == gradient["energy_of"] == "HF"
    assert energy["energy_hartree"] == pytest.approx(gradient["energy_hartree"], abs=1e-8)


def test_a_restarted_deck_has_the_functional_of_its_database(tmp_path: Path) -> None:
    first = outcome_of(f"start h2\n{H2}dft; xc pbe0; end\ntask dft energy\n", tmp_path)
    again = tmp_path / "again.nw"
    again.write_text("restart h2\ntask dft energy\n")
    left = {name: tmp_path / "attempt" / name for name in ("h2.db", "h2.movecs")}
    inputs = {"again.nw": again, **left}
    outcome = run(step("nwchem", "deck", deck="again.nw"), inputs, tmp_path / "second", cores=1)
    assert first.result["energy_of"] == outcome.result["energy_of"] == "PBE0"
    assert outcome.result["energy_hartree"] == pytest.approx(first.result["energy_hartree"], abs=1e-6)
