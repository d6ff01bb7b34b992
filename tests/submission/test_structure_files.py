"""Structure files as programs and people write them: read as the engine reads them, or refused with the true cause.

Energies are those of xTB 6.5.1 for the file as it stands, or None where it refuses the file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qmrunner.chemistry.xyz import read_xyz
from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from tests import molecules
from tests.support import missing

WATER = -5.070364532463
PLACES = ("0 0 .117", "0 .757 -.47", "0 -.757 -.47")
FORCES = "1.5 -0.2 7e-3"


def atoms(*words: str, before: str = "", after: str = "") -> str:
    return "".join(f"{word} {before} {place} {after}\n" for word, place in zip(words, PLACES, strict=True))


def file(rows: str, comment: str = "water", count: str = "3") -> bytes:
    return f"{count}\n{comment}\n{rows}".encode()


WATERS = atoms("O", "H", "H")
PLAIN = file(atoms("O", "H", "H"))
READ = {
    "plain": PLAIN,
    "deuterium and tritium": file(atoms("O", "D", "T")),
    "lower case": file(atoms("o", "h", "d")),
    "atomic numbers": file(atoms("8", "1", "1")),
    "numbered": file(atoms("O1", "H2", "H3")),
    "underscores": file(atoms("O_acc", "H_1", "H_2")),
    "letters behind a label": file(atoms("O_a", "H1A", "H1B")),
    "stars, primes and charges": file(atoms("O*", "H'", "H+")),
    "isotopes in front": file(atoms("18O", "2H", "H")),
    "isotopes behind": file(atoms("O", "H(iso=2)", "H")),
    "more columns": file(atoms("O", "H", "H", after="1 2 3")),
    "text behind the number": file(atoms("O", "H", "H"), count="3 atoms"),
    "exponents of Fortran": file("O 0 0 1.17D-01\nH 0 7.57d-1 -.47\nH 0 -.757 -.47\n"),
    "tabs": PLAIN.replace(b" ", b"\t"),
    "lines of Windows": PLAIN.replace(b"\n", b"\r\n"),
    "lines of an old Mac": PLAIN.replace(b"\n", b"\r"),
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "latin-1": file(atoms("O", "H", "H"), comment="Länge in Å").decode().encode("latin-1"),
    "cp1252": b"3\nwater \x85 \x93quoted\x94\n" + atoms("O", "H", "H").encode(),
    "a line separator in the comment": file(atoms("O", "H", "H"), comment="a\u2028b \x0c\x85c"),
    "extended, as usual": file(
        atoms("O", "H", "H"), comment='Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3'
    ),
    "extended, forces first": file(
        atoms("O", "H", "H", before=FORCES), comment="Properties=species:S:1:forces:R:3:pos:R:3 pbc=F"
    ),
    "extended, numbers first": file(
        atoms("8 O", "1 H", "1 H"), comment='energy=-1 properties="Z:I:1:species:S:1:pos:R:3"'
    ),
    "extended, numbers alone": file(atoms("8", "1", "1"), comment="Properties=Z:I:1:pos:R:3"),
    "extended, element last": file(
        "".join(f"{place} {word}\n" for word, place in zip("OHH", PLACES, strict=True)),
        comment="Properties=pos:R:3:species:S:1",
    ),
    "extended, what is no header": file(atoms("O", "H", "H"), comment="properties = unknown"),
}
REFUSED = {
    "a type of atom": (file(atoms("Ow", "Hw", "Hw")), "unknown_element", "Ow"),
    "a ghost": (file(atoms("O", "H:", "H")), "unknown_element", "H:"),
    "a dummy": (file(atoms("O", "X", "H")), "unknown_element", "'X'"),
    "no positions": (file(WATERS, comment="Properties=species:S:1:forces:R:3"), "unreadable_structure", "pos"),
    "no elements": (file(WATERS, comment="Properties=id:I:1:pos:R:3"), "unreadable_structure", "species"),
    "a torn header": (file(WATERS, comment="Properties=species:S:pos:R"), "unreadable_structure", "Properties"),
    "short rows": (
        file(WATERS, comment="Properties=species:S:1:pos:R:3:forces:R:3"), "unreadable_structure", "7 columns"
    ),
    "UTF-16": (PLAIN.decode().encode("utf-16"), "unreadable_file", "UTF-16"),
    "UTF-16 without a mark": (PLAIN.decode().encode("utf-16-le"), "unreadable_file", "0x00"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", "unreadable_file", "byte"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_and_what_the_program_gets_is_what_was_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "w.xyz").write_bytes(READ[name])
    made = job_kinds.xtb(str(tmp_path / "w.xyz"))
    assert made.params["atoms"] == ["O", "H", "H"]
    assert made.params["files"] == ["w.xyz"]
    given = made.files["w.xyz"]
    assert given == READ[name] or made.files["original-w.xyz"] == READ[name]
    (molecule,) = read_xyz(given.decode("cp1252", "replace").removeprefix("\N{LATIN SMALL LETTER I WITH DIAERESIS}»¿"))
    expected = [tuple(map(float, place.split())) for place in PLACES]
    assert [pytest.approx(point) for point in molecule.coordinates or ()] == expected
    if given != READ[name]:
        assert all(len(row.split()) == 4 for row in given.decode().splitlines()[2:])


@pytest.mark.parametrize("kind", [job_kinds.xtb, job_kinds.crest, molecules.nmr])
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_understood_is_refused_with_its_cause(name: str, kind: object, tmp_path: Path) -> None:
    data, code, word = REFUSED[name]
    (tmp_path / "w.xyz").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        kind(str(tmp_path / "w.xyz"))  # type: ignore[operator]
    assert caught.value.code == code
    assert word in f"{caught.value.message} {caught.value.evidence}"


def test_what_was_read_in_its_own_way_is_noted(tmp_path: Path) -> None:
    for name, words in {
        "extended, forces first": ["position from columns 5 to 7"],
        "underscores": ["O_acc as O"],
        "deuterium and tritium": ["isotopes are computed as the plain element"],
    }.items():
        (tmp_path / "w.xyz").write_bytes(READ[name])
        notes = " ".join(job_kinds.xtb(str(tmp_path / "w.xyz")).params["notes"])
        assert all(word in notes for word in words)
    (tmp_path / "w.xyz").write_bytes(PLAIN)
    assert "notes" not in job_kinds.xtb(str(tmp_path / "w.xyz")).params


def test_isotopes_of_each_format_are_known(tmp_path: Path) -> None:
    from rdkit import Chem

    methanol = "6\n\nO .7 0 0\nC -.7 0 0\nD -1 .9 -.5\nD -1 0 1\nD -1 -.9 -.5\nH 1 0 -.9\n"
    (tmp_path / "m.xyz").write_text(methanol)
    assert molecules.nmr(str(tmp_path / "m.xyz")).params["isotopes"] == [[3, 2], [4, 2], [5, 2]]
    (tmp_path / "m.mol").write_text(Chem.MolToMolBlock(Chem.AddHs(Chem.MolFromSmiles("[2H]C([2H])([2H])O"))))
    assert molecules.nmr(str(tmp_path / "m.mol")).params["isotopes"] == [[1, 2], [3, 2], [4, 2]]
    assert molecules.nmr("[2H]C([2H])([2H])O").params["isotopes"] == [[1, 2], [3, 2], [4, 2]]
    assert "isotopes" not in molecules.nmr("CO").params
    with pytest.raises(UsageError) as caught:
        molecules.nmr("[2H]O[2H]")
    assert caught.value.code == "no_nmr_nuclei"


def test_a_deck_in_another_encoding_is_handed_on_as_it_is(tmp_path: Path) -> None:
    deck = "# Länge in Å, geprüft\ngeometry\n He 0 0 0\nend\nbasis\n * library sto-3g\nend\ntask scf\n"
    for encoding in ("latin-1", "cp1252", "utf-8"):
        (tmp_path / "w.nw").write_bytes(deck.encode(encoding))
        assert job_kinds.nwchem(str(tmp_path / "w.nw")).files["w.nw"] == deck.encode(encoding)
    (tmp_path / "w.nw").write_bytes(deck.encode("utf-8-sig"))
    assert job_kinds.nwchem(str(tmp_path / "w.nw")).files["w.nw"] == deck.encode()
    (tmp_path / "w.nw").write_bytes(deck.encode("utf-16"))
    with pytest.raises(UsageError) as caught:
        job_kinds.nwchem(str(tmp_path / "w.nw"))
    assert "UTF-16" in str(caught.value.evidence)


@pytest.mark.slow
def test_xtb_computes_water_from_each_file(tmp_path: Path) -> None:
    program = shutil.which(os.environ.get("QMRUNNER_XTB", "xtb")) or missing("xTB is not installed")
    for number, data in enumerate(READ.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "w.xyz").write_bytes(data)
        made = job_kinds.xtb(str(folder / "w.xyz"))
        (folder / "w.xyz").write_bytes(made.files["w.xyz"])
        command = [program, "w.xyz", "--norestart", "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, errors="replace")
        (line,) = [line for line in done.stdout.splitlines() if "| TOTAL ENERGY" in line]
        assert float(line.split()[3]) == pytest.approx(WATER, abs=1e-7)
