"""Decks of every task: verdict, energy and its level, final geometry and quantities against values of bare runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.engines import decks
from tests.engines.decks import Deck
from tests.engines.test_nwchem_real import MISSING, run
from tests.sampling import share

RECORDED = [deck for version in decks.VERSIONS for deck in decks.of_version(version)]
# One of each kind that takes a few seconds.
REAL = [
    "scf-uhf",
    "dft-b3lyp",
    "dft-dftmp2",
    "ccsd-t",
    "tce-eomccsd",
    "tddft-triplets",
    "mcscf",
    "opt-bohr",
    "opt-tags",
    "freq-scf",
    "pspw",
    "bsse",
    "print-none",
    "neb-maxiter",
]


def identity(deck: Deck) -> str:
    return f"{deck.name}-{deck.version}"


@pytest.mark.parametrize("deck", RECORDED, ids=identity)
def test_a_recorded_deck_comes_to_what_its_bare_run_printed(deck: Deck, tmp_path: Path) -> None:
    outcome, directory = decks.verdict(deck, tmp_path)
    assert not decks.differences(deck, outcome, directory)


def test_the_corpus_has_both_versions_and_every_theory() -> None:
    assert len(decks.of_version("7.0.2")) >= 44
    assert len(decks.of_version("7.2.3")) >= 12
    levels = {deck.expected.get("energy_of") for deck in decks.of_version("7.0.2")}
    levels_wanted = {"HF", "B3LYP", "DFT", "DFT+MP2", "MP2", "RI-MP2", "CCSD", "CCSD(T)", "MBPT(2)", "CISD", "MCSCF"}
    assert levels_wanted | {"EOM-CCSD root 1", "TDDFT root 1", "PSPW", "BAND", "counterpoise-corrected"} <= levels


@pytest.mark.parametrize("deck", RECORDED, ids=identity)
def test_values_expected_are_of_a_run_that_is_recorded(deck: Deck) -> None:
    assert deck.expected["state"] in {"succeeded", "failed"}
    assert ("class" in deck.expected) == (deck.expected["state"] == "failed")
    assert ("energy_hartree" in deck.expected) == ("energy_of" in deck.expected)
    assert deck.version in deck.expected["exit_code"]


@pytest.mark.engine
@pytest.mark.timeout(450)
@pytest.mark.skipif(MISSING, reason="nwchem is not installed")
@pytest.mark.parametrize("name", share(REAL, 3))
def test_a_deck_that_runs_comes_to_what_its_bare_run_printed(name: str, tmp_path: Path) -> None:
    deck = next(deck for deck in decks.of_version("7.0.2", recorded=False) if deck.name == name)
    inputs = {}
    for path in deck.folder.iterdir():
        if path.suffix not in {".out", ".err", ".toml"} and path.is_file():
            inputs[path.name] = Path(shutil.copyfile(path, tmp_path / path.name))
    directory = tmp_path / "attempt"
    outcome = run(deck.step(), inputs, directory, cores=1)
    assert not decks.differences(deck, outcome, directory, run=True)
