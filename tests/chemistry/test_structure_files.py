"""Files of one water molecule in every form that programs write: the same atoms and coordinates, or a refusal."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry.structures import complete, read_structures
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


FAR = {
    "a.xyz": "2\n\nC {} 0 0\nH 0 0 0\n",
    "a.extxyz": "2\nProperties=species:S:1:pos:R:3\nC 0 {} 0\nH 0 0 0\n",
    "a.mol": "\n  x\n\n  0  0  0  0  0  0            999 V3000\nM  V30 BEGIN CTAB\nM  V30 COUNTS 1 0 0 0 0\n"
    "M  V30 BEGIN ATOM\nM  V30 1 He {} 0 1 0\nM  V30 END ATOM\nM  V30 END CTAB\nM  END\n",
    "a.coord": "$coord\n{} 0 0 c\n0 0 0 h\n$end\n",
    "angs.coord": "$coord angs\n{} 0 0 c\n0 0 0 h\n$end\n",
    "a.gjf": "# hf\n\nt\n\n0 1\nC 0. {} 0.\nH 0. 0. 0.\n",
    "au.gjf": "# hf units=au\n\nt\n\n0 1\nC 0. {} 0.\nH 0. 0. 0.\n",
    "a.json": '{{"schema_name": "qcschema_molecule", "schema_version": 2, "symbols": ["C"], "geometry": [0, 0, {}]}}',
    "a.cml": '<molecule><atomArray><atom id="a" elementType="C" x3="{}" y3="0" z3="0"/></atomArray></molecule>',
    "bonds.cml": '<molecule><atomArray><atom id="a" elementType="C" x3="{}" y3="0" z3="0"/><atom id="b" elementType="H"'
    ' x3="0" y3="0" z3="1"/></atomArray><bondArray><bond atomRefs2="a b" order="1"/></bondArray></molecule>',
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize("number", ["1e7", "-1e30", "1e155", "1.7e308", "-1.7e308"])
def test_an_atom_beyond_any_molecule_is_refused_in_every_format(name: str, number: str) -> None:
    """1e308 is finite: arithmetic with it overflowed, and wide numbers run into the next column."""
    with pytest.raises(UsageError) as refused:
        complete(read_structures(FAR[name].format(number).encode(), name)[0])
    assert refused.value.code in ("coordinate_too_large", "not_finite", "qcschema_invalid")
    assert refused.value.remedy
