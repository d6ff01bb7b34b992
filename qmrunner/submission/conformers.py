"""Decide at submission where the conformers of a job come from and how many are kept, so that plans stay pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qmrunner.errors import UsageError, nearest
from qmrunner.submission.molecule import Source
from qmrunner.submission.request import ConformerSearch

if TYPE_CHECKING:
    from qmrunner.chemistry.molecule import Molecule

SOURCES = ("auto", "rdkit", "crest", "none")
# Energy windows above the lowest conformer: wide after xTB, whose energies err by kilocalories, narrow after DFT.
WINDOW_XTB_KCAL = 6.0
WINDOW_DFT_KCAL = 3.0
_STRUCTURE = "structure.xyz"


def check(search: ConformerSearch) -> None:
    """Raise UsageError `unknown_conformers` or `bad_number`."""
    if search.method not in SOURCES:
        near = nearest(search.method, SOURCES)
        hint = f"did you mean {near}? " if near else ""
        raise UsageError(
            "unknown_conformers",
            f"--conformers {search.method} is not known",
            remedy=f"{hint}known are {', '.join(SOURCES)}; omit the option for a file with several structures",
        )
    if search.max_conformers is not None and search.max_conformers < 1:
        raise UsageError(
            "bad_number",
            f"--max-conformers must be at least 1, not {search.max_conformers}",
            remedy="omit it for a default that suits the molecule, or use --conformers none for one structure",
        )
    if not 0 < search.temperature_k < 10000:
        raise UsageError(
            "bad_number",
            f"a temperature of {search.temperature_k} K is out of range",
            remedy="give it in kelvin, for example 298.15",
        )
    if not 0 <= search.max_lost_weight < 1:
        raise UsageError(
            "bad_number",
            f"--max-lost-weight must be from 0 to less than 1, not {search.max_lost_weight}",
            remedy="it is a fraction of the Boltzmann weight, for example 0.1",
        )


def refuse_none(search: ConformerSearch, molecules: Sequence[Molecule]) -> None:
    """Raise UsageError `unknown_conformers` for a conformer job with one structure and no search."""
    if search.method == "none" and len(molecules) == 1:
        raise UsageError(
            "unknown_conformers",
            "a conformer job with --conformers none and one structure has nothing to do",
            remedy="choose auto, rdkit or crest, or give a file of several structures",
        )


def plan(
    search: ConformerSearch, molecules: Sequence[Molecule], source: Source
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The params of a job except level and solvent, and its input files.

    Raises UsageError `several_structures` when a search would start from more than one structure, `bonds_unclear` when
    RDKit would have to search from an XYZ whose bond orders are not clear.
    """
    from qmrunner.chemistry import graphs, rotors

    first, files = molecules[0], dict(source.files)
    bonds = first.bonds or ()
    turning = rotors.rotors(first.symbols, bonds)
    used, note = _source_of(search, molecules, source)
    # Keep all structures of the user within the energy window.
    most = search.max_conformers or (None if used in ("none", "given") else rotors.default_kept(turning))
    params: dict[str, Any] = {
        "input": source.origin,
        "geometry": _store(first, source, files, _STRUCTURE) if len(molecules) == 1 else None,
        "atoms": list(first.symbols),
        "bonds": [list(pair) for pair in bonds],
        "charge": first.charge,
        "multiplicity": first.multiplicity,
        "smiles": first.smiles,
        "inchikey": graphs.inchikey(first.smiles) if first.smiles else None,
        "conformers": used,
        "conformers_asked": search.method,
        "conformers_note": note,
        "max_conformers": most,
        "max_conformers_asked": search.max_conformers,
        "temperature_k": search.temperature_k,
    }
    if used != "none":
        params |= {
            "rotors": turning,
            "candidates": rotors.default_candidates(turning),
            "candidates_kept": 10 + 2 * (most or 0),
            "window_xtb_kcal": WINDOW_XTB_KCAL,
            "window_dft_kcal": WINDOW_DFT_KCAL,
            "max_lost_weight": search.max_lost_weight,
        }
    if used == "given":
        names = [f"structure-{number}.xyz" for number in range(1, len(molecules) + 1)]
        params["structures"] = [
            _store(molecule, source, files, name) for molecule, name in zip(molecules, names, strict=True)
        ]
    if unclear := _unclear(first, source):
        params["unclear_bonds"] = [list(pair) for pair in unclear]
    if search.allow_topology_change:
        params["allow_topology_change"] = True
    if first.isotopes:
        params["isotopes"] = [list(pair) for pair in first.isotopes]
    if first.notes:
        params["notes"] = list(first.notes)
    params["files"] = sorted(files)
    return params, files


def _unclear(molecule: Molecule, source: Source) -> Sequence[tuple[int, int]]:
    """Pairs of atoms whose bond was perceived from an XYZ and is not clear there."""
    if molecule.coordinates is None or not source.origin.get("file", "").lower().endswith(".xyz"):
        return ()
    from qmrunner.chemistry import topology

    return topology.unclear_pairs(molecule.symbols, molecule.bonds or (), molecule.coordinates)


def _source_of(search: ConformerSearch, molecules: Sequence[Molecule], source: Source) -> tuple[str, str | None]:
    """The source of the conformers, and a note when it differs from the requested one."""
    asked = search.method
    if len(molecules) > 1:
        if asked in ("rdkit", "crest"):
            raise UsageError(
                "several_structures",
                f"{source.origin['file']} holds {len(molecules)} structures, but a conformer search starts from one",
                remedy="omit --conformers to use all of them as the ensemble, or submit one of them",
            )
        return "given", f"the {len(molecules)} structures given are the ensemble"
    if asked == "auto":
        if search.crest_installed:
            return "crest", "auto: CREST is installed here"
        _check_bonds(molecules[0], source)
        return "rdkit", "auto: CREST is not installed here, so RDKit searched"
    if asked == "rdkit":
        _check_bonds(molecules[0], source)
    return asked, None


def _check_bonds(molecule: Molecule, source: Source) -> None:
    if molecule.smiles is None:
        raise UsageError(
            "bonds_unclear",
            f"{source.origin.get('file', 'the structure')}: its bond orders are not clear from the coordinates, "
            "and RDKit needs them to search conformers",
            remedy="give a SMILES, or a MOL or SDF file with bonds; check --charge; or use --conformers crest or none",
        )


def _store(molecule: Molecule, source: Source, files: dict[str, bytes], name: str) -> str | None:
    """The normalised structure among the input files: its path in the job's folder; None without coordinates."""
    if molecule.coordinates is None:
        return None
    from qmrunner.chemistry.xyz import write_xyz

    files[name] = write_xyz(molecule.symbols, molecule.coordinates, source.origin.get("file", "")).encode()
    return f"input/{name}"
