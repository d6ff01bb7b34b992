"""Structures in other formats than XYZ, MOL and SDF: converted to one of these when a job is submitted.

So every later step reads what was read here. Charge and multiplicity are those that the format carries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from qmrunner.chemistry import atom_numbers, cml, columns, foreign_text, qcschema_molecule
from qmrunner.chemistry.foreign_text import Frame
from qmrunner.chemistry.graphs import load_rdkit
from qmrunner.chemistry.xyz import read_xyz, write_xyz
from qmrunner.errors import UsageError
from qmrunner.model.units import ANGSTROM_PER_BOHR

# Nearer atoms than in any molecule but H2, which has 0.741: coordinates in ångström that were read as bohr.
_TOO_CLOSE_ANGSTROM = 0.65


@dataclass(frozen=True, slots=True)
class Converted:
    """A structure file as qmrunner stores it: its `name`, the `text` (XYZ or MOL), and what an XYZ cannot carry."""

    name: str
    text: str
    charge: int | None = None
    multiplicity: int | None = None
    notes: tuple[str, ...] = ()


def _turbomole(text: str, name: str) -> list[Frame]:
    return foreign_text.turbomole(text, name)


def _qcschema(text: str, name: str) -> list[Frame]:
    found = qcschema_molecule.molecule_of(qcschema_molecule.within(qcschema_molecule.load(text, name)), name)
    flat = [value * ANGSTROM_PER_BOHR for value in found.coordinates_bohr]
    points = tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    return [
        Frame(found.symbols, points, found.charge, found.multiplicity, isotopes=dict(found.isotopes), from_bohr=True)
    ]


def _extended(text: str, name: str) -> list[Frame]:
    found = []
    for number, molecule in enumerate(read_xyz(text, name), start=1):
        refuse_periodic(molecule.title, f"{name}: structure {number}")
        charge, multiplicity = (columns.integer(molecule.title, keys, name) for keys in columns.ELECTRONS)
        unused = [f"{name}: the column {column} is not used" for column in columns.unused(molecule.title)]
        found.append(
            Frame(
                molecule.symbols, molecule.coordinates or (), charge, multiplicity,
                title=columns.without(molecule.title), isotopes=dict(molecule.isotopes),
                notes=(*molecule.notes, *unused),
            )
        )  # fmt: skip
    return found


def refuse_periodic(comment: str, what: str) -> None:
    """Raise UsageError `unreadable_structure` for the comment line of a crystal."""
    if columns.is_periodic(comment):
        raise UsageError(
            "unreadable_structure", f"{what} is periodic", evidence=comment[:200],
            remedy='give a molecule; write pbc="F F F" if the lattice is only a box around it',
        )  # fmt: skip


_FRAMES: dict[str, Callable[[str, str], list[Frame]]] = {
    ".extxyz": _extended,
    ".pdb": foreign_text.pdb,
    ".ent": foreign_text.pdb,
    ".gjf": foreign_text.gaussian,
    ".com": foreign_text.gaussian,
    ".coord": _turbomole,
    ".tmol": _turbomole,
    ".json": _qcschema,
}
SUFFIXES = (*_FRAMES, ".cml", ".inchi")


def convert(text: str, name: str) -> Converted:
    """The structures of a file whose ending is one of SUFFIXES.

    Raises UsageError with the line or field that is wrong: `unreadable_structure`, `unknown_element`, `unit_suspect`,
    `hydrogens_missing`, `structures_differ`, `qcschema_invalid`, `invalid_inchi` and the errors of XYZ and MOL.
    """
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix == ".inchi":
        return Converted(f"{path.stem}.mol", mol_of_inchi(_only_inchi(text, name)), notes=(INCHI_NOTE,))
    if suffix == ".cml":
        found = cml.read(text, name)
        if isinstance(found, tuple):
            return Converted(f"{path.stem}.mol", found[0], None, found[1])
        return _as_xyz(found, name)
    return _as_xyz(_FRAMES[suffix](text, name), name)


def _as_xyz(frames: Sequence[Frame], name: str) -> Converted:
    first = frames[0]
    for number, frame in enumerate(frames, start=1):
        if (frame.charge, frame.multiplicity) != (first.charge, first.multiplicity):
            raise UsageError(
                "structures_differ", f"{name}: structure {number} has another charge or multiplicity than structure 1",
                evidence=f"{first.charge}, {first.multiplicity}; {frame.charge}, {frame.multiplicity}",
                remedy="submit different molecules in separate files",
            )  # fmt: skip
        if frame.from_bohr:
            _check_unit(frame, name)
    text = "".join(write_xyz(_words(frame), frame.points, frame.title) for frame in frames)
    notes = tuple(dict.fromkeys(note for frame in frames for note in frame.notes))
    return Converted(f"{PurePath(name).stem}.xyz", text, first.charge, first.multiplicity, notes)


def _words(frame: Frame) -> list[str]:
    """Symbols, of an isotope with its mass number in front, as the reader of XYZ knows it."""
    pairs = enumerate(frame.symbols, start=1)
    return [f"{frame.isotopes[number]}{symbol}" if number in frame.isotopes else symbol for number, symbol in pairs]


def _check_unit(frame: Frame, name: str) -> None:
    from qmrunner.chemistry.molecule import check_range, close_pair

    check_range(frame.points)
    pair = close_pair(frame.points, _TOO_CLOSE_ANGSTROM)
    # Atoms that are too close in either unit overlap: the reader of the converted file reports them.
    if pair is not None and pair[2] / ANGSTROM_PER_BOHR >= _TOO_CLOSE_ANGSTROM:
        raise UsageError(
            "unit_suspect",
            f"{name}: atoms {pair[0]} and {pair[1]} are {pair[2]:.2f} ångström apart: the coordinates seem to be in "
            "ångström, but the unit of this format is bohr",
            evidence=f"{pair[2] / ANGSTROM_PER_BOHR:.3f} bohr",
            remedy="convert the coordinates to bohr, or write an XYZ file",
        )


INCHI_NOTE = "the molecule is that of its InChI, which leaves the place of mobile hydrogens open: check the tautomer"
_INCHI = re.compile(r"InChI=\S+", re.IGNORECASE)


def is_inchi(text: str) -> bool:
    """Whether a text is an InChI rather than a SMILES."""
    return _INCHI.match(text.lstrip()) is not None


def _only_inchi(text: str, name: str) -> str:
    """The InChI of a file, wherever it stands in its line. Raises UsageError `several_structures`."""
    found = dict.fromkeys(_INCHI.findall(text))
    if len(found) > 1:
        raise UsageError(
            "several_structures", f"{name} has {len(found)} molecules", evidence=", ".join(found)[:200],
            remedy="submit each in a separate file",
        )  # fmt: skip
    return next(iter(found), " ".join(text.split())[:200])


def smiles_of_inchi(inchi: str) -> str:
    """The SMILES of an InChI, which fixes neither the place of mobile hydrogens nor, without them, bond orders.

    Raises UsageError `invalid_inchi`.
    """
    chem = load_rdkit()
    return str(chem.MolToSmiles(_mol_of_inchi(inchi.split()[0] if inchi.split() else "")))


def mol_of_inchi(inchi: str) -> str:
    """The flat MOL block of an InChI. Raises UsageError `invalid_inchi`."""
    chem = load_rdkit()
    from rdkit.Chem import rdDepictor

    mol = _mol_of_inchi(inchi)
    rdDepictor.Compute2DCoords(mol)
    chem.WedgeMolBonds(mol, mol.GetConformer())
    return str(chem.MolToMolBlock(mol))


def _mol_of_inchi(inchi: str) -> Any:
    chem = load_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        mol = chem.MolFromInchi(f"InChI={inchi.strip().partition('=')[2]}") if is_inchi(inchi) else None
    if mol is None or mol.GetNumAtoms() == 0:
        key = len(inchi) == 27 and inchi.count("-") == 2
        raise UsageError(
            "invalid_inchi",
            "this is an InChIKey, from which no structure follows" if key else "this is not a readable InChI",
            evidence=inchi[:200],
            remedy="give the InChI itself, which begins with InChI=1, or a SMILES",
        )
    for atom in mol.GetAtoms():
        atom_numbers.check("mass number", str(atom.GetIsotope()), inchi)
    return mol
