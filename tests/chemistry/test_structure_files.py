"""Files of one water molecule in every form that programs write: the same atoms and coordinates, or a refusal."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry.structures import read_structures
from qmrunner.errors import UsageError

FOLDER = Path(__file__).with_name("structures")
EXPECTED: dict[str, Any] = tomllib.loads((FOLDER / "expected.toml").read_text())
REFUSED: dict[str, str] = EXPECTED["refused"]
READ = sorted(path.name for path in FOLDER.iterdir() if path.name not in {".gitattributes", "expected.toml", *REFUSED})


@pytest.mark.parametrize("name", READ)
def test_a_structure_file_gives_the_elements_and_coordinates_it_holds(name: str) -> None:
    (molecule,) = read_structures((FOLDER / name).read_bytes(), name)
    assert molecule.coordinates is not None
    assert list(molecule.symbols) == [atom[0] for atom in EXPECTED["atoms"]]
    for found, atom in zip(molecule.coordinates, EXPECTED["atoms"], strict=True):
        assert found == pytest.approx(atom[1:], abs=1e-6)
    isotopes = {str(atom): mass for atom, mass in molecule.isotopes}
    assert isotopes == EXPECTED["isotopes"].get(name, {})


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_file_that_is_no_structure_is_refused_with_its_code(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_structures((FOLDER / name).read_bytes(), name)
    assert caught.value.code == REFUSED[name]


def test_the_corpus_of_structure_files_is_whole() -> None:
    assert len(READ) + len(REFUSED) >= 25
