"""From what a user typed to a checked `Submission`. Raises UsageError, and changes nothing anywhere.

The chemistry and engine packages are loaded only by the kinds of job that need them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner.errors import UsageError, nearest
from qmrunner.model.jobs import Submission
from qmrunner.workflows import files as inputs
from qmrunner.workflows.levels import SMALL_BASIS, Level, find_level
from qmrunner.workflows.solvents import find_solvent

if TYPE_CHECKING:
    from qmrunner.chemistry.molecule import Molecule

TEMPERATURE_K = 298.15
CONFORMERS = ("none",)
# GFN2-xTB ends at radon.
_XTB_LAST_ELEMENT = "Rn"
_STRUCTURE = "structure.xyz"
_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "xtb": {"charge": ("--chrg", "-c", "--charge"), "unpaired": ("--uhf", "-u")},
    "crest": {"charge": ("--chrg", "-chrg"), "unpaired": ("--uhf", "-uhf")},
}
_CONTROLS = (".CHRG", ".UHF", "--input", "-I")


def nmr(
    source: str,
    *,
    solvent: str = "chloroform",
    level: str = "draft",
    conformers: str = "none",
    max_conformers: int | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
    temperature_k: float = TEMPERATURE_K,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """An NMR prediction of a SMILES or of the molecule in an .xyz, .mol or .sdf file.

    Raises UsageError with what is wrong with the molecule (see `chemistry.structures`), `unknown_solvent`,
    `unknown_level`, `unknown_conformers`, `bad_number`, `radical`, `no_nmr_nuclei`, `several_structures`.
    """
    medium, theory = find_solvent(solvent), find_level(level)
    _check_options(conformers, max_conformers, temperature_k)
    molecule, origin, files = _read(source)
    molecule = _settle(molecule, charge, multiplicity, theory)
    geometry = None
    if molecule.coordinates is not None:
        from qmrunner.chemistry.xyz import write_xyz

        geometry = f"input/{_STRUCTURE}"
        files[_STRUCTURE] = write_xyz(molecule.symbols, molecule.coordinates, origin.get("file", "")).encode()
    params: dict[str, Any] = {
        "input": origin,
        "geometry": geometry,
        "files": sorted(files),
        "atoms": list(molecule.symbols),
        "bonds": [list(pair) for pair in molecule.bonds or ()],
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "smiles": molecule.smiles,
        "solvent": medium.key,
        "level": theory.key,
        "conformers": conformers,
        "max_conformers": max_conformers,
        "temperature_k": temperature_k,
    }
    return Submission("nmr", params, files, name, priority, key)


def _check_options(conformers: str, max_conformers: int | None, temperature_k: float) -> None:
    if conformers not in CONFORMERS:
        near = nearest(conformers, CONFORMERS)
        hint = f"did you mean {near}? " if near else ""
        raise UsageError(
            "unknown_conformers",
            f"--conformers {conformers} is not available in this version",
            remedy=f"{hint}known are {', '.join(CONFORMERS)}: the single structure given, or the best one embedded",
        )
    if max_conformers is not None and max_conformers < 1:
        raise UsageError("bad_number", f"--max-conformers must be at least 1, not {max_conformers}")
    if not 0 < temperature_k < 10000:
        raise UsageError(
            "bad_number", f"a temperature of {temperature_k} K is out of range", remedy="give kelvin, as in 298.15"
        )


def _read(source: str) -> tuple[Molecule, dict[str, str], dict[str, bytes]]:
    """The molecule, where it is from (``{"smiles": …}`` or ``{"file": …}``), and the input files by name."""
    from qmrunner.chemistry import structures

    if not structures.is_structure_file(source):
        try:
            return structures.read_smiles(source), {"smiles": source.split()[0]}, {}
        except UsageError as error:
            if error.code == "invalid_smiles":
                inputs.refuse_file_of_unknown_format(source, structures.SUFFIXES)
            raise
    name, data = inputs.read(source)
    found = structures.read_structures(data, name)
    if len(found) > 1:
        raise UsageError(
            "several_structures",
            f"{name} holds {len(found)} structures, and a single one is expected",
            remedy="submit each in a file of its own",
        )
    if not found:
        raise UsageError("empty_file", f"{name} holds no structure", remedy="export the structure again")
    # The normalised structure has a fixed name; a user's file of that name steps aside.
    stored = f"original-{name}" if name == _STRUCTURE else name
    return found[0], {"file": stored}, {stored: data}


def _settle(molecule: Molecule, charge: int | None, multiplicity: int | None, level: Level) -> Molecule:
    from qmrunner.chemistry import elements, structures
    from qmrunner.chemistry.scaling import NUCLEI

    # First the elements: without basis functions nothing else matters.
    remedy = "leave the element out, or use another program for this molecule"
    if level.key != "draft":
        remedy = f"try --level draft, whose basis {SMALL_BASIS} reaches further, or leave the element out"
    structures.check_elements(molecule, elements.up_to(level.last_element), level.shielding_basis, remedy)
    structures.check_charge(molecule, charge)
    _refuse_radicals(molecule, charge, multiplicity)
    molecule = structures.complete(molecule, charge, multiplicity)
    structures.check_one_fragment(molecule)
    if not any(symbol in NUCLEI for symbol in molecule.symbols):
        raise UsageError(
            "no_nmr_nuclei",
            "this molecule has neither hydrogen nor carbon, and only 1H and 13C shifts are predicted",
            evidence=" ".join(molecule.symbols[:20]),
            remedy="submit a molecule with hydrogen or carbon",
        )
    return molecule


def _refuse_radicals(molecule: Molecule, charge: int | None, multiplicity: int | None) -> None:
    """Open shells, told apart from a multiplicity that is impossible: that one is for `structures.complete`."""
    from qmrunner.chemistry.molecule import electron_count, formula, possible_multiplicities

    electrons = electron_count(molecule.symbols, molecule.charge if charge is None else charge)
    odd = electrons % 2 == 1
    possible = electrons > 0 and (multiplicity is None or (multiplicity > 0 and (multiplicity % 2 == 0) == odd))
    if not possible or not (odd or molecule.radical_electrons or (multiplicity or 1) > 1):
        return
    listed = ", ".join(map(str, possible_multiplicities(electrons)))
    why = f"multiplicity {multiplicity} was asked for"
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


def nwchem(
    deck: str, with_files: Sequence[str] = (), *, name: str | None = None, priority: int = 0, key: str | None = None
) -> Submission:
    """A user's own NWChem deck, and the files it names. Raises UsageError for unreadable files and a deck that cannot
    run, such as one without a task."""
    from qmrunner.chemistry.structures import decode
    from qmrunner.engines.nwchem import check_deck

    own, files = inputs.collect(deck, with_files)
    check_deck(decode(files[own], own))
    return Submission("nwchem", {"deck": own, "files": list(files)}, files, name, priority, key)


def xtb(
    structure: str,
    args: Sequence[str] = (),
    with_files: Sequence[str] = (),
    *,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """A user's own xTB run: structure file first, then `args` as they are. Raises UsageError for unreadable files."""
    return _program("xtb", structure, args, with_files, name, priority, key)


def crest(
    structure: str,
    args: Sequence[str] = (),
    with_files: Sequence[str] = (),
    *,
    name: str | None = None,
    priority: int = 0,
    key: str | None = None,
) -> Submission:
    """A user's own CREST run: structure file first, then `args` as they are. Raises UsageError as `xtb` does."""
    return _program("crest", structure, args, with_files, name, priority, key)


def _program(
    kind: str,
    structure: str,
    args: Sequence[str],
    with_files: Sequence[str],
    name: str | None,
    priority: int,
    key: str | None,
) -> Submission:
    own, files = inputs.collect(structure, with_files)
    inputs.check_arguments(args)
    params: dict[str, Any] = {"structure": own, "args": list(args), "files": list(files)}
    atoms = _atoms(own, files[own])
    if atoms is not None:
        params["atoms"] = atoms
    _check_electrons(kind, structure, own, args, files)
    return Submission(kind, params, files, name, priority, key)


def _check_electrons(kind: str, path: str, own: str, args: Sequence[str], files: Mapping[str, bytes]) -> None:
    """Charge and spin that the arguments name, against the structure; not where a control file may say otherwise."""
    from qmrunner.engines import openmp, structure

    if any(name in files or name in args for name in _CONTROLS):
        return
    charge, unpaired = (openmp.value_of(args, _OPTIONS[kind][what]) for what in ("charge", "unpaired"))
    structure.check(
        Path(path).expanduser(),
        own,
        charge=0 if charge is None else openmp.integer(charge),
        unpaired=openmp.integer(unpaired),
    )


def _atoms(name: str, data: bytes) -> list[str] | None:
    """The element symbols of a structure that we can read, checked; None for a format only the program knows."""
    from qmrunner.chemistry import elements, structures
    from qmrunner.chemistry.xyz import read_xyz

    if not name.lower().endswith(".xyz"):
        return None
    molecule = read_xyz(structures.decode(data, name), name)[0]
    structures.check_elements(
        molecule, elements.up_to(_XTB_LAST_ELEMENT), "set of GFN2-xTB", "use a program that knows this element"
    )
    return list(molecule.symbols)
