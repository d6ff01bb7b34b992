"""Structures in the formats of other programs: read with charge, spin and isotopes, or refused with the true cause.

What ASE reads of the same text is the independent control, where ASE reads the format.
"""

from __future__ import annotations

import io
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry import foreign, structures
from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from qmrunner.submission.request import MoleculeRequest
from tests.sampling import share

WATER = (("O", 0.0, 0.0, 0.117), ("H", 0.0, 0.757, -0.47), ("H", 0.0, -0.757, -0.47))
_BOHR = 0.529177210903
ROWS = "O 0.0 0.0 0.117\nH 0.0 0.757 -0.47\nH 0.0 -0.757 -0.47\n"
BOHR_ROWS = "".join(f"{x / _BOHR:.9f} {y / _BOHR:.9f} {z / _BOHR:.9f} {symbol}\n" for symbol, x, y, z in WATER)
FLAT = [value / _BOHR for _, *point in WATER for value in point]
GAUSSIAN = "%chk=w.chk\n# b3lyp/6-31g* opt\n\nwater, made by hand\n\n{}\n{}\n"


def pdb(*rows: tuple[str, str, str, float, float, float], more: str = "") -> str:
    """PDB records of (name of 4 columns, element, charge, x, y, z)."""
    return "".join(
        f"ATOM  {at:5d} {name} MOL A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}{charge:>2}\n"
        for at, (name, element, charge, x, y, z) in enumerate(rows, 1)
    ) + (more or "END\n")


def water_pdb(names: tuple[str, str, str] = (" O  ", " H1 ", " H2 "), elements: str = "OHH") -> str:
    return pdb(*((name, e.strip(), "", *row[1:]) for name, e, row in zip(names, elements, WATER, strict=True)))


def cml(atoms: str, bonds: str = "", head: str = "") -> str:
    inner = f"<atomArray>{atoms}</atomArray>" + (f"<bondArray>{bonds}</bondArray>" if bonds else "")
    return f'<?xml version="1.0"?><molecule xmlns="http://www.xml-cml.org/schema" {head}>{inner}</molecule>'


def cml_atoms(more: tuple[str, str, str] = ("", "", "")) -> str:
    rows = enumerate(zip(WATER, more, strict=True), 1)
    return "".join(
        f'<atom id="a{n}" elementType="{e}" x3="{x}" y3="{y}" z3="{z}" {m}/>' for n, ((e, x, y, z), m) in rows
    )


BONDS = '<bond atomRefs2="a1 a2" order="1"/><bond atomRefs2="a1 a3" order="S"/>'
QCSCHEMA: dict[str, Any] = {"symbols": ["O", "H", "H"], "geometry": FLAT}


@dataclass(frozen=True)
class Read:
    """A file that is read: charge, multiplicity and isotopes it carries, and ASE's name of its format."""

    file: str
    text: str
    charge: int | None = None
    multiplicity: int | None = None
    isotopes: tuple[tuple[int, int], ...] = ()
    ase: str | None = None


READ = (
    Read("plain.extxyz", f'3\nProperties=species:S:1:pos:R:3 pbc="F F F"\n{ROWS}', ase="extxyz"),
    Read("charged.extxyz", f"3\nProperties=species:S:1:pos:R:3 charge=1 multiplicity=2\n{ROWS}", 1, 2, ase="extxyz"),
    Read("quoted.extxyz", f'3\ncharge="-1.0" energy=-76.1 Properties=species:S:1:pos:R:3\n{ROWS}', -1),
    Read("water.coord", f"$coord\n{BOHR_ROWS.lower()}$end\n", ase="turbomole"),
    Read("bohr.tmol", f"$coord bohr\n{BOHR_ROWS}$end\n"),
    Read("ion.coord", f"$coord\n{BOHR_ROWS}$eht charge=1 unpaired=1\n$end\n", 1, 2),
    Read("angs.coord", "$coord angs\n0 0 0.117 o\n0 0.757 -0.47 h\n0 -0.757 -0.47 h\n$end\n"),
    Read("frozen.coord", f"$title\nwater\n$coord\n{BOHR_ROWS.replace(' O', ' o f')}$user-defined bonds\n$end\n"),
    Read("water.gjf", GAUSSIAN.format("0 1", ROWS), 0, 1, ase="gaussian-in"),
    Read("cation.com", GAUSSIAN.format("1,2", ROWS.replace(" ", ", ")), 1, 2),
    Read("frozen.gjf", GAUSSIAN.format("0 1", ROWS.replace("O ", "O -1 ").replace("H ", "H 0 ")), 0, 1),
    Read("labels.gjf", GAUSSIAN.format("0 1", ROWS.replace("O ", "O-OW--0.8 ").replace("H ", "H(Fragment=1) ")), 0, 1),
    Read("deuterium.gjf", GAUSSIAN.format("0 1", ROWS.replace("H ", "H(Iso=2) ")), 0, 1, ((2, 2), (3, 2))),
    Read("numbers.gjf", GAUSSIAN.format("0 1", ROWS.replace("O ", "8 ").replace("H ", "1 ")), 0, 1),
    Read("comment.gjf", GAUSSIAN.format("0 1 ! singlet", ROWS + "\nO H 0\n6-31G(d)\n****\n"), 0, 1),
    Read(
        "bohr.gjf",
        GAUSSIAN.replace("opt", "units=au").format(
            "0 1", "".join(f"{row.split()[3]} {' '.join(row.split()[:3])}\n" for row in BOHR_ROWS.splitlines())
        ),
        0, 1,
    ),
    Read("fragments.gjf", GAUSSIAN.format("1 2 0 1 1 2", ROWS), 1, 2),
    Read("water.pdb", water_pdb(), ase="proteindatabank"),
    Read("names.pdb", water_pdb((" OW ", "HW11", " HW2"), "   ")),
    Read("charges.ent", water_pdb().replace("           O  ", "           O1+"), 1),
    Read("atoms.cml", cml(cml_atoms())),
    Read("spin.cml", cml(cml_atoms(), head='formalCharge="1" spinMultiplicity="2"'), 1, 2),
    Read("bonds.cml", cml(cml_atoms(), BONDS)),
    Read("isotopes.cml", cml(cml_atoms(("", 'isotopeNumber="2"', ""))), isotopes=((2, 2),)),
    Read(
        "arrays.cml",
        '<cml><molecule><atomArray atomID="a1 a2 a3" elementType="O H H" x3="0 0 0" y3="0 .757 -.757"'
        ' z3=".117 -.47 -.47"/></molecule></cml>',
    ),
    Read("spin-and-bonds.cml", cml(cml_atoms(), BONDS, head='spinMultiplicity="3"'), None, 3),
    Read("deuterium.cml", cml(cml_atoms().replace('"H"', '"D"')), isotopes=((2, 2), (3, 2))),
    Read("deuterium.coord", f"$coord\n{BOHR_ROWS.replace(' H', ' d')}$end\n", isotopes=((2, 2), (3, 2))),
    Read("deuterium-name.gjf", GAUSSIAN.format("0 1", ROWS.replace("H ", "D ")), 0, 1, ((2, 2), (3, 2))),
    Read("mass.gjf", GAUSSIAN.format("0 1", ROWS.replace("O ", "O(Iso=17.99916) ")), 0, 1, ((1, 18),)),
    Read("neutrons.pdb", water_pdb(elements="ODD"), isotopes=((2, 2), (3, 2))),
    Read("box.extxyz", f'3\nLattice="9 0 0 0 9 0 0 0 9" pbc=[F, F, F]\n{ROWS}'),
    Read("molecule.json", json.dumps(QCSCHEMA), 0),
    Read("ion.json", json.dumps(QCSCHEMA | {"molecular_charge": 1.0, "molecular_multiplicity": 2}), 1, 2),
    Read("no-title.gjf", f"#\n\n \n\n0  1\n{ROWS}\n", 0, 1),  # as Open Babel writes it
    Read("residues.gjf", GAUSSIAN.format("0 1", ROWS.replace("O ", "O-OH--0.6(PDBName=O,ResNum=1_A) ")), 0, 1),
    Read("iso-list.gjf", GAUSSIAN.format("0 1", ROWS.replace("H ", "H(Fragment=1, Iso=2) ")), 0, 1, ((2, 2), (3, 2))),
    Read("iso-apart.gjf", GAUSSIAN.format("0 1", ROWS.replace("H ", "H  (Iso=2)  ")), 0, 1, ((2, 2), (3, 2))),
    Read("blocks.gjf", GAUSSIAN.format("0 1", ROWS.replace("O ", "O -2 ")), 0, 1),
    Read("xtb.coord", f"$coord\n{BOHR_ROWS}$chrg 1\n$spin 1\n$end\n", 1, 2),
    Read("xtb-equals.coord", f"$chrg=-1\n$coord\n{BOHR_ROWS}$end\n", -1),
    Read("isotope-of-open-babel.cml", cml(cml_atoms(("", 'isotope="2"', ""))), isotopes=((2, 2),)),
    Read("masses.json", json.dumps(QCSCHEMA | {"masses": [15.9949, 2.0141, 1.0078]}), 0, None, ((2, 2),)),
    Read("fragments.json", json.dumps(QCSCHEMA | {"fragments": [[0, 1, 2]], "fragment_charges": [1.0]}), 1),
    Read("result.json", json.dumps({"driver": "energy", "molecule": QCSCHEMA | {"molecular_charge": 1}}), 1),
    Read("optimised.json", json.dumps({"initial_molecule": {"symbols": ["He"]}, "final_molecule": QCSCHEMA}), 0),
    Read("rows.json", json.dumps(QCSCHEMA | {"geometry": [FLAT[:3], FLAT[3:6], FLAT[6:]], "mass_numbers": [16, 2, 1]}),
         0, None, ((2, 2),)),
)  # fmt: skip


@pytest.mark.parametrize("known", READ, ids=lambda known: known.file)
def test_a_structure_is_read_with_what_its_format_carries(known: Read) -> None:
    found = foreign.convert(known.text, known.file)
    assert (found.charge, found.multiplicity) == (known.charge, known.multiplicity)
    (molecule,) = structures.read_structures(known.text.encode(), known.file)
    assert molecule.isotopes == known.isotopes
    assert list(molecule.symbols) == [row[0] for row in WATER]
    for point, row in zip(molecule.coordinates or (), WATER, strict=True):
        assert point == pytest.approx(row[1:], abs=1e-6)
    if known.ase:
        ase = pytest.importorskip("ase.io")
        read = ase.read(io.StringIO(known.text), format=known.ase)
        assert read.get_chemical_symbols() == list(molecule.symbols)
        assert read.positions.ravel().tolist() == pytest.approx([v for row in WATER for v in row[1:]], abs=1e-5)


REFUSED: dict[str, tuple[str, str, str]] = {
    "half.extxyz": (f"3\ncharge=0.5 Properties=species:S:1:pos:R:3\n{ROWS}", "unreadable_structure", "charge"),
    "angstrom.coord": (
        "$coord\n" + "".join(f"{x} {y} {z} {e}\n" for e, x, y, z in WATER) + "$end", "unit_suspect", "bohr"
    ),
    "periodic.coord": (f"$periodic 3\n$coord\n{BOHR_ROWS}$end", "unreadable_structure", "periodic"),
    "frac.coord": (f"$coord frac\n{BOHR_ROWS}$end", "unreadable_structure", "lattice"),
    "short.coord": ("$coord\n0 0 0\n$end", "unreadable_structure", "line 2"),
    "dummy.coord": (f"$coord\n{BOHR_ROWS}0 0 3 q\n$end", "unknown_element", "'q'"),
    "empty.coord": ("$coord\n$end", "unreadable_structure", "$coord"),
    "zmatrix.gjf": (GAUSSIAN.format("0 1", "O\nH 1 0.96\nH 1 0.96 2 104.5"), "unreadable_structure", "Z-matrix"),
    "check.gjf": ("# hf geom=allcheck\n\n", "unreadable_structure", "checkpoint"),
    "no-title.gjf": (f"# hf\n\n0 1\n{ROWS}\n", "unreadable_structure", "charge and multiplicity"),
    "no-route.gjf": (f"0 1\n{ROWS}", "unreadable_structure", "route"),
    "comma.gjf": (GAUSSIAN.format("0 1", "O 0,0 0,0 0,117\n"), "unreadable_structure", "line 7"),
    "ghost.gjf": (GAUSSIAN.format("0 1", ROWS.replace("O ", "Bq ")), "unknown_element", "Bq"),
    "alternative.pdb": (
        water_pdb().replace(" H2  MOL", " H2 BMOL"), "unreadable_structure", "alternative location"
    ),
    "crystal.pdb": (
        pdb((" CA ", "C", "", 0, 0, 0), (" C  ", "C", "", 1.5, 0, 0), (" O  ", "O", "", 2.1, 1.1, 0)),
        "hydrogens_missing", "hydrogens",
    ),
    # Only the hydrogen on oxygen is left of methanol, as in a file for docking.
    "docking.pdb": (
        pdb((" C  ", "C", "", 0, 0, 0), (" O  ", "O", "", 1.42, 0, 0), (" HO ", "H", "", 1.72, 0.91, 0)),
        "hydrogens_missing", "1 of 1 carbons: atoms 1",
    ),
    "overflow.pdb": (water_pdb().replace("   0.757", "********"), "unreadable_structure", "no number"),
    "text.pdb": ("REMARK nothing here\nEND\n", "unreadable_structure", "ATOM"),
    "entities.cml": ('<!DOCTYPE m [<!ENTITY a "b">]><molecule/>', "unreadable_structure", "document type"),
    "torn.cml": ("<molecule><atomArray>", "unreadable_structure", "XML"),
    "flat.cml": (cml('<atom id="a1" elementType="O" x2="0" y2="0"/>'), "unreadable_structure", "three-dimensional"),
    "query.cml": (cml('<atom id="a1" elementType="R" x3="0" y3="0" z3="0"/>'), "unknown_element", "R"),
    "two.cml": (f"<cml>{2 * cml(cml_atoms()).partition('?>')[2]}</cml>", "several_structures", "2 molecules"),
    "valence.cml": (cml(cml_atoms(), BONDS.replace('"1"', '"3"')), "invalid_structure", "possible"),
    "contradiction.cml": (
        cml(cml_atoms(('formalCharge="1"', "", "")), head='formalCharge="2"'), "unreadable_structure", "add up to 1"
    ),
    "lost-bond.cml": (cml(cml_atoms(), BONDS.replace("a3", "a9")), "unreadable_structure", "bond"),
    "angstrom.json": (
        json.dumps({"symbols": ["O", "H"], "geometry": [0, 0, 0, 0, 0, 0.96]}), "unit_suspect", "bohr"
    ),
    "short.json": (json.dumps(QCSCHEMA | {"geometry": FLAT[:6]}), "qcschema_invalid", "9 coordinates"),
    "ghost.json": (json.dumps(QCSCHEMA | {"real": [True, True, False]}), "qcschema_unsupported", "ghost"),
    "ghost-of-oxygen.gjf": (GAUSSIAN.format("0 1", ROWS.replace("O ", "O-Bq ")), "unreadable_structure", "ghost"),
    "crystal.extxyz": (f'3\nLattice="9 0 0 0 9 0 0 0 9"\n{ROWS}', "unreadable_structure", "periodic"),
    "slab.extxyz": (f'3\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T F"\n{ROWS}', "unreadable_structure", "periodic"),
    "one-id.cml": (cml(cml_atoms().replace("a2", "a1"), BONDS), "unreadable_structure", "one id"),
    "half-placed.cml": (cml(cml_atoms().replace(' z3="0.117"', ""), BONDS), "unreadable_structure", "x3"),
    "short-list.cml": (
        '<molecule><atomArray elementType="O H" x3="0 0" y3="0 0" z3="0 1" formalCharge="-1"/></molecule>',
        "unreadable_structure", "formalCharge",
    ),
    "fragments.json": (
        json.dumps(QCSCHEMA | {"molecular_charge": 0, "fragment_charges": [1.0]}), "qcschema_invalid", "add up to 1"
    ),
    "result-without.json": (json.dumps({"driver": "energy", "molecule": None}), "qcschema_invalid", "symbols"),
    "twice.coord": (f"$coord\n{BOHR_ROWS}$coord\n{BOHR_ROWS}$end", "atoms_overlap", "atoms 1 (O) and 4 (O)"),
    "crystal.gjf": (GAUSSIAN.format("0 1", ROWS + "Tv 9.0 0.0 0.0\n"), "unreadable_structure", "crystal"),
    "first.cml": (
        '<molecule><atomArray><atom id="a1"><string builtin="elementType">C</string></atom></atomArray></molecule>',
        "unreadable_structure", "version 1",
    ),
    "crystal-of-ase.xyz": (
        f'3\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 pbc="T T T"\n{ROWS}',
        "unreadable_structure", "periodic",
    ),
    "two.inchi": ("InChI=1S/CH4/h1H4\nInChI=1S/H2O/h1H2\n", "several_structures", "2 molecules"),
    "key.inchi": ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "invalid_inchi", "InChIKey"),
    "broken.inchi": ("InChI=1S/C2H6O/c1-2-9/h3H,2H2,1H3", "invalid_inchi", "readable"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_misleads_is_refused_with_the_true_cause(name: str, tmp_path: Path) -> None:
    text, code, word = REFUSED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        job_kinds.nmr(MoleculeRequest(str(tmp_path / name)))
    assert caught.value.code == code
    assert word in f"{caught.value}"


def test_the_alignment_of_a_name_distinguishes_calcium_from_carbon() -> None:
    rows = (
        (" CA ", "", "", 0, 0, 0),
        ("CA  ", "", "", 3, 0, 0),
        ("HG11", "", "", 0, 0, 1.1),
        ("CL1 ", "", "", 0, 1.7, 0),
        ("HG12", "", "", 0, -1.1, 0),
    )
    assert foreign.convert(pdb(*rows), "x.pdb").text.split()[1::4][:4] == ["C", "Ca", "H", "Cl"]


def test_several_models_are_an_ensemble() -> None:
    model = water_pdb().replace("END\n", "ENDMDL\n")
    found = foreign.convert(f"MODEL 1\n{model}MODEL 2\n{model}", "x.pdb")
    assert found.text.count("O  ") == 2


def test_a_job_has_the_charge_of_its_file_and_refuses_another(tmp_path: Path) -> None:
    path = tmp_path / "h3o.gjf"
    path.write_text(GAUSSIAN.format("1 1", ROWS.replace("0.117", "0.0") + "H 0.9 0 0.3\n"))
    made = job_kinds.nmr(MoleculeRequest(str(path)))
    assert (made.params["charge"], made.params["multiplicity"]) == (1, 1)
    assert made.files["h3o.gjf"] == path.read_bytes()
    assert made.params["input"] == {"file": "converted-h3o.xyz"}
    assert any("h3o.gjf was converted" in note for note in made.params["notes"])
    with pytest.raises(UsageError) as caught:
        job_kinds.nmr(MoleculeRequest(str(path), charge=0))
    assert caught.value.code == "charge_mismatch"


def test_bond_orders_of_a_cml_are_kept(tmp_path: Path) -> None:
    atoms = '<atom id="c" elementType="C" hydrogenCount="2"/><atom id="o" elementType="O"/>'
    (tmp_path / "formaldehyde.cml").write_text(cml(atoms, '<bond atomRefs2="c o" order="2"/>'))
    made = job_kinds.nmr(MoleculeRequest(str(tmp_path / "formaldehyde.cml")))
    assert (made.params["smiles"], len(made.params["atoms"])) == ("C=O", 4)


@pytest.mark.parametrize("as_file", [False, True])
def test_an_inchi_is_a_molecule(as_file: bool, tmp_path: Path) -> None:
    inchi = "InChI=1S/C3H7NO2/c1-2(4)3(5)6/h2H,4H2,1H3,(H,5,6)/t2-/m0/s1"
    (tmp_path / "alanine.inchi").write_text(inchi + "\n")
    made = job_kinds.nmr(MoleculeRequest(str(tmp_path / "alanine.inchi") if as_file else inchi))
    assert made.params["inchikey"] == "QNAYBMKLOCPYGJ-REOHCLBHSA-N"


def test_the_hydrogens_that_a_cml_counts_are_all_there_are() -> None:
    atoms = '<atom id="a" elementType="C" hydrogenCount="3"/><atom id="b" elementType="C" hydrogenCount="2"/>'
    found = foreign.convert(cml(atoms, '<bond atomRefs2="a b" order="1"/>'), "ethyl.cml")
    (molecule,) = structures.read_structures(found.text.encode(), found.name)
    assert (molecule.symbols.count("H"), molecule.radical_electrons) == (5, 1)


# L-alanine, (E)-1,2-difluoroethene and (E)-1-fluoropropene. A drawing, or words without a drawing.
_ALANINE = (
    '<atom id="a1" elementType="C" {0}/><atom id="a2" elementType="C" hydrogenCount="1" {1}>{5}</atom>'
    '<atom id="a3" elementType="N" {2}/><atom id="a4" elementType="C" {3}/><atom id="a5" elementType="O" {4}/>'
)
_ALANINE_BONDS = (
    '<bond atomRefs2="a2 a1"/><bond atomRefs2="a2 a3" order="1">{}</bond><bond atomRefs2="a2 a4"/>'
    '<bond atomRefs2="a4 a5" order="2"/>'
)
_PLACES_2D = [f'x2="{x}" y2="{y}"' for x, y in ((-1, 0.5), (0, 0), (0, -1), (1, 0.5), (2, 0))]
_FLUOROETHENE = (
    '<atom id="a1" elementType="F" {0}/><atom id="a2" elementType="C" {1}/><atom id="a3" elementType="C" {2}/>'
    '<atom id="a4" elementType="F" {3}/>'
)
_FLUOROETHENE_BONDS = '<bond atomRefs2="a1 a2"/><bond atomRefs2="a2 a3" order="2">{}</bond><bond atomRefs2="a3 a4"/>'
_TRANS_2D = [f'x2="{x}" y2="{y}"' for x, y in ((-1, 0.5), (0, 0), (1, 0.5), (2, 0))]
_CIS_2D = [f'x2="{x}" y2="{y}"' for x, y in ((-0.5, 0.8), (0, 0), (1, 0), (1.5, 0.8))]
_REFERRED = '<bondStereo atomRefs4="a1 a2 a3 a4">{}</bondStereo>'
_PARITY = '<atomParity atomRefs4="{}">{}</atomParity>'


def _alanine(bond: str = "", parity: str = "", drawn: bool = True) -> str:
    return cml(_ALANINE.format(*(_PLACES_2D if drawn else 5 * [""]), parity), _ALANINE_BONDS.format(bond))


def _fluoroethene(places: list[str] | None = None, bond: str = "") -> str:
    return cml(_FLUOROETHENE.format(*(places or 4 * [""])), _FLUOROETHENE_BONDS.format(bond))


@pytest.mark.parametrize(
    ("text", "smiles"),
    [
        (_alanine(), "CC(N)C=O"),
        (_alanine("<bondStereo>W</bondStereo>"), "C[C@H](N)C=O"),
        (_alanine("<bondStereo>H</bondStereo>"), "C[C@@H](N)C=O"),
        (_alanine('<bondStereo dictRef="cml:H"/>'), "C[C@@H](N)C=O"),
        (_alanine(parity=_PARITY.format("a1 a2 a3 a4", "1")), "C[C@@H](N)C=O"),
        (_alanine(parity=_PARITY.format("a1 a2 a3 a4", "1"), drawn=False), "C[C@@H](N)C=O"),
        (_alanine(parity=_PARITY.format("a2 a1 a3 a4", "1"), drawn=False), "C[C@H](N)C=O"),
        (_alanine(parity=_PARITY.format("a2 a1 a3 a4", "-1"), drawn=False), "C[C@@H](N)C=O"),
        (_alanine(parity=_PARITY.format("a1 a2 a3 a9", "1"), drawn=False), "CC(N)C=O"),
        (_fluoroethene(), "FC=CF"),
        (_fluoroethene(_TRANS_2D), "F/C=C/F"),
        (_fluoroethene(_CIS_2D), "F/C=C\\F"),
        (_fluoroethene(bond=_REFERRED.format("T")), "F/C=C/F"),
        (_fluoroethene(bond=_REFERRED.format("C")), "F/C=C\\F"),
    ],
)
def test_the_stereochemistry_of_a_flat_cml_is_that_of_its_drawing_or_words(text: str, smiles: str) -> None:
    from rdkit import Chem

    (molecule,) = structures.read_structures(text.encode(), "flat.cml")
    found = Chem.RemoveHs(Chem.MolFromSmiles(molecule.smiles or ""))
    assert Chem.MolToSmiles(found) == Chem.CanonSmiles(smiles)


def test_the_sides_of_a_double_bond_in_a_cml_are_those_of_its_coordinates() -> None:
    rows = ((1.65, -0.71, 0.02), (0.64, 0.16, -0.01), (-0.66, -0.21, 0.01), (-1.57, 0.79, -0.02))
    places = [f'x3="{x}" y3="{y}" z3="{z}"' for x, y, z in rows]
    hydrogens = (
        '<atom id="a5" elementType="H" x3="0.88" y3="1.23" z3="-0.05"/>'
        '<atom id="a6" elementType="H" x3="-0.94" y3="-1.26" z3="0.05"/>'
    )
    bonds = _FLUOROETHENE_BONDS.format("") + '<bond atomRefs2="a2 a5"/><bond atomRefs2="a3 a6"/>'
    text = cml(_FLUOROETHENE.format(*places) + hydrogens, bonds)
    (molecule,) = structures.read_structures(text.encode(), "placed.cml")
    assert molecule.smiles == "F/C=C/F"


@pytest.mark.parametrize("comment", ["charge=1", "total_charge=1.0 pbc='F F F'"])
def test_an_xyz_that_names_its_columns_and_a_charge_has_that_charge(comment: str, tmp_path: Path) -> None:
    rows = ROWS.replace("0.117", "0.0") + "H 0.9 0 0.3\n"
    (tmp_path / "h3o.xyz").write_text(f"4\r\nProperties=species:S:1:pos:R:3 {comment}\r\n{rows}")
    made = job_kinds.nmr(MoleculeRequest(str(tmp_path / "h3o.xyz")))
    assert (made.params["charge"], made.params["input"]) == (1, {"file": "h3o.xyz"})
    with pytest.raises(UsageError, match=r"contradicts h3o\.xyz, which has 1"):
        job_kinds.nmr(MoleculeRequest(str(tmp_path / "h3o.xyz"), charge=0))
    (tmp_path / "plain.xyz").write_text(f"3\nProperties=species:S:1:pos:R:3 energy=-76.4\n{ROWS}")
    assert job_kinds.nmr(MoleculeRequest(str(tmp_path / "plain.xyz"))).params["input"] == {"file": "plain.xyz"}


def test_columns_that_are_not_used_are_noted() -> None:
    rows = ROWS.replace("0.117", "0.117 1.0").replace("-0.47", "-0.47 0.0")
    found = foreign.convert(f"3\nProperties=species:S:1:pos:R:3:initial_charges:R:1\n{rows}", "x.extxyz")
    assert (found.charge, found.notes) == (None, ("x.extxyz: the column initial_charges is not used",))


@pytest.mark.parametrize(
    "text", ["InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\tethanol\n", "ethanol inchi=1S/C2H6O/c1-2-3/h3H,2H2,1H3\n",
             "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\nAuxInfo=1/0/N:1,2,3/rA:3nCCO/\n"],
)  # fmt: skip
def test_an_inchi_is_found_beside_a_name_and_auxiliary_layers(text: str) -> None:
    found = foreign.convert(text, "ethanol.inchi")
    assert found.notes == (foreign.INCHI_NOTE,)
    (molecule,) = structures.read_structures(found.text.encode(), found.name)
    assert molecule.smiles == "CCO"


_DIGITS = ("9" * 5000, "9" * 30, "99999999999", "-99999999999", "-5", "70000", "200", "-128", "1e400", "nan", "inf")
_PLACES = {
    "charge.coord": "$eht charge={} unpaired=0\n$coord\n" + BOHR_ROWS,
    "spin.coord": "$eht charge=0 unpaired={}\n$coord\n" + BOHR_ROWS,
    "charge.gjf": GAUSSIAN.format("{} 1", ROWS),
    "spin.gjf": GAUSSIAN.format("0 {}", ROWS),
    "isotope.gjf": GAUSSIAN.format("0 1", ROWS.replace("O ", "O(Iso={}) ")),
    "place.gjf": GAUSSIAN.format("0 1", ROWS.replace("0.117", "{}")),
    "charge.cml": cml(cml_atoms(('formalCharge="{}"', "", "")), BONDS),
    "whole.cml": cml(cml_atoms(), head='formalCharge="{}"'),
    "spin.cml": cml(cml_atoms(), head='spinMultiplicity="{}"'),
    "isotope.cml": cml(cml_atoms(('isotopeNumber="{}"', "", "")), BONDS),
    "isotope-xyz.cml": cml(cml_atoms(('isotopeNumber="{}"', "", ""))),
    "hydrogens.cml": cml('<atom id="a1" elementType="O" hydrogenCount="{}"/><atom id="a2" elementType="H"/>',
                         '<bond atomRefs2="a1 a2"/>'),
    "place.cml": cml(cml_atoms().replace("0.117", "{}"), BONDS),
    "chrg.coord": "$chrg {}\n$coord\n" + BOHR_ROWS,
    "mass.json": json.dumps(QCSCHEMA | {"masses": [16, "HERE", 1]}).replace('"HERE"', "{}"),
    "fragment.json": json.dumps(QCSCHEMA | {"fragment_charges": ["HERE"]}).replace('"HERE"', "{}"),
    "drawn.cml": _alanine().replace('x2="-1"', 'x2="{}"'),
    "parity.cml": _alanine(parity=_PARITY.format("a1 a2 a3 a4", "{}")),
    "charge.extxyz": "3\ncharge={} pbc=F\n" + ROWS,
    "spin.extxyz": "3\nmult={}\n" + ROWS,
    "charge.json": json.dumps(QCSCHEMA | {"molecular_charge": "HERE"}).replace('"HERE"', "{}"),
}  # fmt: skip


@pytest.mark.parametrize("name", _PLACES)
def test_a_number_beyond_every_molecule_is_refused_or_read_in_any_place(name: str, tmp_path: Path) -> None:
    for digits in _DIGITS:
        (tmp_path / name).write_text(_PLACES[name].replace("{}", digits))
        with suppress(UsageError):  # any other error is a traceback
            job_kinds.nmr(MoleculeRequest(str(tmp_path / name)))


_LONG = 200_000
_SLOW = {
    "route.gjf": GAUSSIAN.replace("opt", "unit=" * _LONG).format("0 1", ROWS),
    "geom.gjf": GAUSSIAN.replace("opt", "geom=" * _LONG).format("0 1", ROWS),
    "blanks.gjf": GAUSSIAN.replace("opt", "units" + " " * _LONG + "geom" + " " * _LONG).format("0 1", ROWS),
    "label.gjf": GAUSSIAN.format("0 1", ROWS.replace("O ", f"O{'(' * _LONG} ")),
    "label-iso.gjf": GAUSSIAN.format("0 1", ROWS.replace("O ", f"O{'(iso=' * _LONG} ")),
    "numbers.gjf": GAUSSIAN.format("0 1 " + "1 " * _LONG + "x", ROWS),
    "comment.extxyz": f"3\n{'properties=charge=' * _LONG}\n{ROWS}",
    "pbc.extxyz": f"3\n{'pbc ' * _LONG}\n{ROWS}",
    "deep.cml": "<a>" * _LONG,
    "flat.cml": cml("".join(f'<atom id="a{n}" elementType="H"/>' for n in range(20_000)), '<bond atomRefs2="a1 a2"/>'),
    "eht.coord": f"$eht {'charge ' * _LONG}\n$coord\n{BOHR_ROWS}",
    "heap.coord": "$coord\n" + "0 0 0 h\n3 0 0 h\n" * 20_000,
    "heap.json": json.dumps({"symbols": ["H"] * 40_000, "geometry": [0, 0, 0, 3, 0, 0] * 20_000}),
    "words.gjf": GAUSSIAN.format("0 1", ROWS.replace("O ", f"O {' ,' * _LONG}( ")),
    "columns.extxyz": f"3\nProperties={'masses:' * _LONG}\n{ROWS}",
    "inchis.inchi": "InChI=" * _LONG,
    "long.inchi": f"InChI=1S/{'C' * _LONG}",
}


@pytest.mark.parametrize("name", share(_SLOW, 4))
def test_the_time_of_reading_grows_with_the_file_not_its_square(name: str) -> None:
    """Quadratic work takes minutes for each of these."""
    before = time.process_time()
    with suppress(UsageError):
        foreign.convert(_SLOW[name], name)
    assert time.process_time() - before < 5
