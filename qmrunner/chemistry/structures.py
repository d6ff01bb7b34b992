"""Readers: SMILES, InChI and structure files to checked molecules. Atoms are numbered from 1 in input order."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePath

from qmrunner.chemistry import foreign, graphs
from qmrunner.chemistry.elements import NUMBERS
from qmrunner.chemistry.molecule import Molecule, check_no_overlap, choose_multiplicity, formula, fragments
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.errors import UsageError

# Characters that no text file has: control characters except tab, line ends, form feed and the old end-of-file mark.
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
# Files that every step reads, and those that become one of them when a job is submitted.
PLAIN = (".xyz", ".mol", ".sdf")
SUFFIXES = (*PLAIN, *foreign.SUFFIXES)


def is_structure_file(text: str) -> bool:
    """Whether `text` names a structure file by its ending, rather than being a SMILES."""
    return PurePath(text).suffix.lower() in SUFFIXES


@lru_cache(maxsize=4)  # a submission reads its SMILES twice: to check it, and to make the job
def read_smiles(smiles: str) -> Molecule:
    """A molecule without coordinates. Heavy atoms are in SMILES order, hydrogens follow.

    An InChI is taken for the SMILES of its molecule. Raises UsageError `empty_smiles`, `invalid_smiles`,
    `unknown_element`, `invalid_inchi`.
    """
    if foreign.is_inchi(smiles):
        smiles = foreign.smiles_of_inchi(smiles)
    return graphs.molecule_from_mol(graphs.mol_from_smiles(smiles))


def read_structures(data: bytes, name: str) -> tuple[Molecule, ...]:
    """All molecules of a structure file, by the ending of `name`. XYZ and most others have neither charge nor bonds.

    Raises UsageError: `unknown_format`, `unreadable_file`, `empty_file`, and the errors of the format's reader.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            "unknown_format",
            f"{name}: the ending {suffix or '(none)'} is not known",
            remedy=f"give a SMILES or a file that ends in {', '.join(SUFFIXES)}",
        )
    text = decode(data, name)
    if suffix not in PLAIN:
        converted = foreign.convert(text, name)
        return read_structures(converted.text.encode(), converted.name)
    if suffix == ".xyz":
        return read_xyz(text, name)
    found = []
    for mol in graphs.mols_from_molfile(text, name):
        title = mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""
        molecule = graphs.molecule_from_mol(mol, title)
        _check_coordinates(molecule, name)
        found.append(molecule)
    return tuple(found)


def decode(data: bytes, name: str) -> str:
    """The text of an input file: UTF-8, else a single-byte encoding of western Europe, for umlauts in comments.

    Raises UsageError `empty_file` or `unreadable_file`.
    """
    if not data.strip():
        raise UsageError(
            "empty_file", f"{name} is empty", evidence=f"{len(data)} bytes", remedy="write the input into it"
        )
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise _not_text(name, "its first bytes are those of UTF-16 or UTF-32, which no engine reads")
    if hit := _NO_TEXT.search(data):
        raise _not_text(name, f"byte {hit.start()} is 0x{data[hit.start()]:02x}")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # lines as on an old Macintosh, which RDKit does not read
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _not_text(name: str, evidence: str) -> UsageError:
    return UsageError(
        "unreadable_file", f"{name} is not a text file", evidence=evidence, remedy="save it as plain text (UTF-8)"
    )


def _check_coordinates(molecule: Molecule, name: str) -> None:
    points = molecule.coordinates
    if points is None:
        return
    for number, point in enumerate(points, start=1):
        if not all(map(math.isfinite, point)):
            raise UsageError(
                "not_finite",
                f"{name}: a coordinate of atom {number} is not a finite number",
                evidence=str(point),
                remedy="the program that wrote this file failed; write the structure again",
            )
    check_no_overlap(molecule.symbols, points)


def check_charge(molecule: Molecule, charge: int | None) -> None:
    """Raise UsageError `charge_mismatch` when a given charge contradicts the formal charges of a SMILES or MOL."""
    if molecule.bonds is None or charge is None or charge == molecule.charge:
        return
    raise UsageError(
        "charge_mismatch",
        f"--charge {charge} contradicts the structure, whose formal charges add up to {molecule.charge}",
        evidence=molecule.smiles,
        remedy="leave --charge out, or write the charge into the structure, as in [NH4+]",
    )


def complete(molecule: Molecule, charge: int | None = None, multiplicity: int | None = None) -> Molecule:
    """The molecule with charge, multiplicity and bonds determined.

    A given charge must agree with the formal charges of a SMILES or MOL; an XYZ takes it, or 0. Bonds of an XYZ are
    perceived from distances. Raises UsageError `charge_mismatch`, `no_electrons`, `charge_multiplicity`.
    """
    check_charge(molecule, charge)
    has_graph = molecule.bonds is not None
    settled = molecule.charge if charge is None else charge
    spin = choose_multiplicity(molecule.symbols, settled, multiplicity)
    if has_graph or molecule.coordinates is None:
        return replace(molecule, charge=settled, multiplicity=spin)
    return replace(
        molecule,
        charge=settled,
        multiplicity=spin,
        bonds=graphs.perceive_bonds(molecule.symbols, molecule.coordinates),
        smiles=graphs.perceive_smiles(molecule.symbols, molecule.coordinates, settled),
    )


def check_elements(molecule: Molecule, allowed: Collection[str], basis: str, remedy: str) -> None:
    """Raise UsageError `element_outside_basis`, naming the atoms, when `basis` has no functions for an element."""
    for number, symbol in enumerate(molecule.symbols, start=1):
        if symbol not in allowed:
            last = max(allowed, key=NUMBERS.__getitem__)
            raise UsageError(
                "element_outside_basis",
                f"the basis {basis} has no functions for {symbol} (atom {number}); it ends at {last}",
                evidence=formula(molecule.symbols),
                remedy=remedy,
            )


def check_one_fragment(molecule: Molecule) -> None:
    """Raise UsageError `several_fragments` for a salt, a mixture or separated atoms."""
    parts = fragments(len(molecule.symbols), molecule.bonds or ())
    if len(parts) > 1:
        names = [formula([molecule.symbols[number - 1] for number in part]) for part in parts]
        raise UsageError(
            "several_fragments",
            f"this is {len(parts)} separate molecules, not one: {' + '.join(names[:5])}",
            evidence=molecule.smiles or f"atoms {parts[1][0]} and {parts[0][0]} are not connected",
            remedy="submit one molecule; for a salt, the ion alone with its charge; "
            "for an XYZ, check that its unit is ångström",
        )
