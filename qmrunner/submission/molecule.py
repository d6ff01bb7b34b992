"""Read the molecule a user submits and check that the kind of job can compute it. Raises UsageError only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from qmrunner.errors import UsageError
from qmrunner.model.job_filter import is_inchikey
from qmrunner.submission import files as inputs
from qmrunner.workflows.levels import SMALL_BASIS, Level

if TYPE_CHECKING:
    from qmrunner.chemistry.molecule import Molecule

MAX_ATOMS = 100
# GFN2-xTB ends at radon.
XTB_LAST_ELEMENT = "Rn"
# Core seconds of an optimisation and of a shielding with 100 basis functions, and how they grow: measured with NWChem
# 7.0.2 on molecules of 6 to 12 atoms (docs/explanation/science.md), so the result is an order of magnitude for large
# molecules.
_OPTIMISE_CORE_S, _SHIELDING_CORE_S, _EXPONENT = 250.0, 120.0, 2.7


@dataclass(frozen=True, slots=True)
class Source:
    """The molecules read, their origin (``{"smiles": …}`` or ``{"file": …}``), and the files by name.

    `charge` and `multiplicity` are those that the file carries beside its structure, None if it carries none; `given`
    is its name.
    """

    molecules: tuple[Molecule, ...]
    origin: dict[str, str]
    files: dict[str, bytes]
    charge: int | None = None
    multiplicity: int | None = None
    given: str = "the structure"

    def electrons(self, charge: int | None, multiplicity: int | None) -> tuple[int | None, int | None]:
        """Charge and multiplicity as given, else of the file. Raises UsageError `charge_mismatch` if both differ."""
        for option, given, own in (("charge", charge, self.charge), ("mult", multiplicity, self.multiplicity)):
            if given is not None and own is not None and given != own:
                raise UsageError(
                    "charge_mismatch",
                    f"--{option} {given} contradicts {self.given}, which has {own}",
                    remedy=f"leave --{option} out, or correct the file",
                )
        return self.charge if charge is None else charge, self.multiplicity if multiplicity is None else multiplicity


def read(source: str) -> Source:
    """The molecules of a SMILES, InChI or file. Raises UsageError as the readers do, `file_not_found`,
    `structures_differ`."""
    from qmrunner.chemistry import foreign, structures

    if foreign.is_inchi(source) or is_inchikey(source):
        return _of_inchi(source)
    if not structures.is_structure_file(source):
        _refuse_list(source)
        try:
            return Source((structures.read_smiles(source),), {"smiles": source.split()[0]}, {})
        except UsageError as error:
            if error.code == "invalid_smiles":
                inputs.refuse_file_of_unknown_format(source, structures.SUFFIXES)
            raise
    name, data = inputs.read(source)
    if PurePath(name).suffix.lower() not in structures.PLAIN:
        return _converted(name, data)
    molecules = structures.read_structures(data, name)
    if not molecules:
        raise UsageError("empty_file", f"{name} holds no structure", remedy="export the structure again")
    _refuse_mixture(molecules, name)
    # qmrunner writes `structure*.xyz` itself, so a user's file of that name is stored under another one.
    stored = f"original-{name}" if name.startswith("structure") and name.endswith(".xyz") else name
    charge, multiplicity = _of_comments(molecules, name) if name.lower().endswith(".xyz") else (None, None)
    return Source(molecules, {"file": stored}, {stored: data}, charge, multiplicity, name)


def _of_comments(molecules: Sequence[Molecule], name: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity in the comment lines of an XYZ file. Raises UsageError `structures_differ` where they are
    not the same in all, and `unreadable_structure` for a crystal."""
    from qmrunner.chemistry import columns, foreign

    found = [columns.electrons(molecule.title, name) for molecule in molecules]
    for number, (molecule, pair) in enumerate(zip(molecules, found, strict=True), start=1):
        foreign.refuse_periodic(molecule.title, f"{name}: structure {number}")
        if pair != found[0]:
            raise UsageError(
                "structures_differ",
                f"{name}: structure {number} has another charge or multiplicity than structure 1",
                evidence=f"{found[0]}; {pair}",
                remedy="submit different molecules in separate files",
            )
    return found[0]


def _refuse_list(text: str) -> None:
    """Raise UsageError `several_molecules` for lines or words with a SMILES each: only the first would be computed."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        raise UsageError(
            "several_molecules", f"these are {len(lines)} lines, and a job has one molecule",
            evidence=f"the second line: {lines[1][:80]}",
            remedy="submit one line, or the list with `qmrunner submit many` or the page “Many molecules”",
        )  # fmt: skip
    words = text.split()
    if len(words) > 1 and _is_second_molecule(words[1], words[0]):
        raise UsageError(
            "several_molecules", "this line has two SMILES, and a job has one molecule",
            evidence=words[1][:80],
            remedy="submit each in a job; if the second word is a name, give it as --name (`name`), or leave it out",
        )  # fmt: skip


def _is_second_molecule(word: str, first: str) -> bool:
    """Whether a word after a SMILES is the SMILES of another molecule, with more than one atom apart from hydrogen."""
    from qmrunner.chemistry import structures

    try:
        found, other = structures.read_smiles(word), structures.read_smiles(first)
    except UsageError:
        return False
    return found.smiles != other.smiles and sum(symbol != "H" for symbol in found.symbols) > 1


def _of_inchi(text: str) -> Source:
    """A molecule by its InChI: later steps get its SMILES, so that they need no InChI."""
    from qmrunner.chemistry import foreign, structures

    smiles = foreign.smiles_of_inchi(text)
    molecule = structures.read_smiles(smiles)
    return Source((replace(molecule, notes=(*molecule.notes, foreign.INCHI_NOTE)),), {"smiles": smiles}, {})


def _converted(name: str, data: bytes) -> Source:
    """The molecules of a file that later steps do not read: they get an XYZ or MOL file, beside the original."""
    from qmrunner.chemistry import foreign, structures

    found = foreign.convert(structures.decode(data, name), name)
    stored = f"converted-{found.name}"
    notes = (*found.notes, f"{name} was converted; input/{stored} is what was read")
    molecules = tuple(
        replace(molecule, notes=(*molecule.notes, *notes))
        for molecule in structures.read_structures(found.text.encode(), stored)
    )
    _refuse_mixture(molecules, name)
    files = {stored: found.text.encode(), name: data}
    return Source(molecules, {"file": stored}, files, found.charge, found.multiplicity, name)


def _refuse_mixture(molecules: tuple[Molecule, ...], name: str) -> None:
    first = molecules[0]
    for number, other in enumerate(molecules[1:], start=2):
        if other.symbols != first.symbols or other.bonds != first.bonds or other.charge != first.charge:
            raise UsageError(
                "structures_differ",
                f"{name}: structure {number} is not a conformer of structure 1: its atoms, bonds or atom order differ",
                evidence=f"{len(first.symbols)} and {len(other.symbols)} atoms",
                remedy="submit different molecules in separate files; conformers need the same atom order",
            )
        if other.coordinates is None or first.coordinates is None:
            raise UsageError(
                "several_structures",
                f"{name} holds {len(molecules)} structures, not all of them three-dimensional",
                remedy="submit each flat structure in a separate file",
            )


def settle_for_nmr(
    molecule: Molecule, charge: int | None, multiplicity: int | None, level: Level, max_atoms: int
) -> Molecule:
    """The molecule with charge and bonds settled. Raises UsageError for one that NMR cannot be predicted for."""
    from qmrunner.chemistry import elements, structures
    from qmrunner.chemistry.scaling import NUCLEI

    # Check the elements first: without basis functions nothing else matters.
    remedy = "remove the element, or use another program for this molecule"
    if level.shielding_basis != SMALL_BASIS:
        remedy = f"try --level draft, whose basis {SMALL_BASIS} covers more elements, or remove the element"
    structures.check_elements(molecule, elements.up_to(level.last_element), level.shielding_basis, remedy)
    structures.check_charge(molecule, charge)
    refuse_radicals(molecule, charge, multiplicity)
    molecule = structures.complete(molecule, charge, multiplicity)
    structures.check_one_fragment(molecule)
    heavy = {number for number, mass in molecule.isotopes if mass not in (1, 13)}
    if not any(symbol in NUCLEI and n not in heavy for n, symbol in enumerate(molecule.symbols, start=1)):
        raise UsageError(
            "no_nmr_nuclei",
            "this molecule has neither hydrogen (1H) nor carbon (13C), and only their shifts are predicted",
            evidence=_with_masses(molecule),
            remedy="submit a molecule with hydrogen or carbon",
        )
    if len(molecule.symbols) > max_atoms:
        hours = core_hours(molecule.symbols, level)
        raise _too_many(len(molecule.symbols), max_atoms, f"about {hours:,.0f} core hours for each conformer")
    return molecule


def _with_masses(molecule: Molecule) -> str:
    """The atoms with the mass numbers given in the input: ``2H O 2H``."""
    masses = dict(molecule.isotopes)
    return " ".join(f"{masses.get(n, '')}{symbol}" for n, symbol in enumerate(molecule.symbols[:20], start=1))


def settle_for_xtb(molecule: Molecule, charge: int | None, multiplicity: int | None, max_atoms: int) -> Molecule:
    """The molecule with charge, multiplicity and bonds settled. Raises UsageError for one xTB cannot treat."""
    from qmrunner.chemistry import elements, structures

    allowed = elements.up_to(XTB_LAST_ELEMENT)
    structures.check_elements(molecule, allowed, "set of GFN2-xTB", "use a program that knows this element")
    structures.check_charge(molecule, charge)
    molecule = structures.complete(molecule, charge, multiplicity)
    structures.check_one_fragment(molecule)
    if molecule.radical_electrons and multiplicity is None:
        raise UsageError(
            "charge_multiplicity",
            f"the structure has {molecule.radical_electrons} unpaired electrons, and no multiplicity was given",
            evidence=molecule.smiles,
            remedy=f"give --mult 1, or --mult {molecule.radical_electrons + 1} with all spins parallel; or write the"
            " hydrogens that it lacks, as in [CH3]",
        )
    if len(molecule.symbols) > max_atoms:
        raise _too_many(len(molecule.symbols), max_atoms, "hundreds of xTB optimisations")
    return molecule


def core_hours(symbols: tuple[str, ...], level: Level) -> float:
    """Estimated core hours of one conformer: optimisation (none where xTB optimises) and shielding."""
    optimised = dft_core_s("optimise", symbols, level.optimise_basis) if level.optimise_basis else 0.0
    return (optimised + dft_core_s("shielding", symbols, level.shielding_basis)) / 3600


def dft_core_s(task: str, symbols: Sequence[str], basis: str) -> float:
    """Estimated core seconds of an `optimise` or `shielding` task of NWChem."""
    from qmrunner.engines.nwchem.resources import basis_functions

    seconds = {"optimise": _OPTIMISE_CORE_S, "shielding": _SHIELDING_CORE_S}[task]
    return seconds * math.pow(basis_functions(tuple(symbols), basis) / 100, _EXPONENT)


def _too_many(atoms: int, limit: int, cost: str) -> UsageError:
    return UsageError(
        "too_many_atoms",
        f"{atoms} atoms are more than the limit of {limit}: estimated cost {cost}",
        evidence=f"{atoms} atoms",
        remedy=f"to compute it anyway, give --max-atoms {atoms}; otherwise reduce the molecule to the part of interest",
    )


def refuse_radicals(molecule: Molecule, charge: int | None, multiplicity: int | None) -> None:
    """Raise UsageError `radical` for an open shell. An impossible multiplicity is left to `structures.complete`."""
    from qmrunner.chemistry.molecule import electron_count, formula, possible_multiplicities

    electrons = electron_count(molecule.symbols, molecule.charge if charge is None else charge)
    odd = electrons % 2 == 1
    possible = electrons > 0 and (multiplicity is None or (multiplicity > 0 and (multiplicity % 2 == 0) == odd))
    if not possible or not (odd or molecule.radical_electrons or (multiplicity or 1) > 1):
        return
    listed = ", ".join(map(str, possible_multiplicities(electrons)))
    why = f"multiplicity {multiplicity} was requested"
    if multiplicity is None:
        why = f"multiplicity 1 is impossible with {electrons} electrons, possible are {listed} (--mult 2)"
        if not odd:
            why = f"the structure itself has {molecule.radical_electrons} unpaired electrons"
    raise UsageError(
        "radical",
        f"{why}: this is a radical or open shell, and NMR of those is unsupported in this version",
        evidence=f"{formula(molecule.symbols)} with {electrons} electrons",
        remedy="check the hydrogens and give the right --charge, so that all electrons are paired",
    )
