"""What is known about the molecule of a submission before anything is computed: a drawing, and warnings.

Reads the user's input with RDKit: for the HTTP API only in the process that checks untrusted input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmrunner.errors import QmrunnerError
from qmrunner.model.jobs import Submission

# Larger molecules make drawings that show nothing.
_MOST_DRAWN = 300


def facts(made: Submission) -> dict[str, Any]:
    """``formula``, ``atoms`` (their number), ``charge``, ``multiplicity``, ``rotors``, ``smiles``, ``inchikey``, each
    None where it is unknown; ``drawing``, an SVG with atom numbers, or None; and ``warnings``, a list of ``{"code",
    "text", "atoms"}``."""
    from qmrunner.chemistry import rotors
    from qmrunner.chemistry.molecule import formula

    params = made.params
    symbols: Sequence[str] = params.get("atoms") or ()
    bonds = [(int(first), int(second)) for first, second in params.get("bonds") or ()]
    mol = _mol(made) if symbols and bonds else None
    return {
        "formula": formula(symbols) if symbols else None,
        "atoms": len(symbols) or None,
        "charge": params.get("charge"),
        "multiplicity": params.get("multiplicity"),
        "rotors": rotors.rotors(tuple(symbols), bonds) if bonds else None,
        "smiles": params.get("smiles"),
        "inchikey": params.get("inchikey"),
        "drawing": _drawing(mol) if mol is not None and len(symbols) <= _MOST_DRAWN else None,
        "warnings": [*_of_molecule(made, mol), *_of_options(made)],
    }


def _mol(made: Submission) -> Any:
    """The RDKit molecule with atoms in the order of the job; None where bond orders are unknown."""
    from qmrunner.chemistry import graphs, structures
    from qmrunner.chemistry.xyz import read_xyz

    source = made.params.get("input") or {}
    try:
        if "smiles" in source:
            return graphs.mol_from_smiles(source["smiles"])
        name = source["file"]
        text = structures.decode(made.files[name], name)
        if not name.lower().endswith(".xyz"):
            return graphs.mols_from_molfile(text, name)[0]
        found = read_xyz(text, name)[0]
        return graphs.mol_from_points(found.symbols, found.coordinates or (), int(made.params.get("charge") or 0))
    except (QmrunnerError, KeyError):
        return None


def _drawing(mol: Any) -> str | None:
    from qmrunner.chemistry.drawing import draw_structure

    try:
        return draw_structure(mol)
    except (RuntimeError, ValueError):
        return None  # RDKit cannot lay it out


def _warning(code: str, text: str, atoms: Sequence[int] = ()) -> dict[str, Any]:
    return {"code": code, "text": text, "atoms": list(atoms)}


def _of_molecule(made: Submission, mol: Any) -> list[dict[str, Any]]:
    found = [_warning("structure_read", note) for note in made.params.get("notes") or ()]
    unclear = made.params.get("unclear_bonds") or ()
    if unclear:
        atoms = sorted({int(atom) for pair in unclear for atom in pair})
        found.append(
            _warning("bonds_unclear", "the distances of these atoms do not show whether they are bonded", atoms)
        )
    if mol is None:
        if made.params.get("bonds"):
            found.append(_warning("bond_orders_unknown", "bond orders are unknown: shifts get no uncertainty by kind"))
        return found
    return found + _stereo(mol) + (_kinds(mol) if made.kind == "nmr" else [])


def _stereo(mol: Any) -> list[dict[str, Any]]:
    """Stereocentres and double bonds that the input leaves open: one isomer is computed."""
    from qmrunner.chemistry.stereo import left_open

    found = []
    for atoms in left_open(mol):
        place = f"the configuration at atom {atoms[0]} is open"
        if len(atoms) == 2:
            place = f"E or Z is open at the double bond {atoms[0]}-{atoms[1]}"
        found.append(_warning("stereo_open", f"{place}: one of the two is computed", atoms))
    return found


def _kinds(mol: Any) -> list[dict[str, Any]]:
    """Atoms whose shifts get no uncertainty."""
    from qmrunner.chemistry import atom_kinds

    kinds = atom_kinds.kinds(mol)
    exchanging = [atom for atom, kind in kinds.items() if kind == atom_kinds.EXCHANGEABLE]
    heavy = [atom for atom, kind in kinds.items() if kind == atom_kinds.HEAVY_HALOGENS]
    found = []
    if exchanging:
        text = "hydrogens on N, O or S exchange: their shifts depend on the sample and get no uncertainty"
        found.append(_warning("exchangeable", text, exchanging))
    if heavy:
        names = " and ".join(atom_kinds.heavy_neighbours(mol))
        text = f"neighbours ({names}) shift these atoms by more than the method describes"
        found.append(_warning("heavy_halogens", text, heavy))
    return found


def _of_options(made: Submission) -> list[dict[str, Any]]:
    from qmrunner.chemistry import rotors
    from qmrunner.workflows.solvents import by_key

    params, found = made.params, []
    if note := params.get("conformers_note"):
        found.append(_warning("conformers", str(note)))
    if params.get("conformers") == "none" and params.get("bonds"):
        turning = rotors.rotors(tuple(params["atoms"]), [(int(a), int(b)) for a, b in params["bonds"]])
        if turning > 0:
            rotors_found = f"{turning} rotor{'s' if turning > 1 else ''}"
            text = f"the molecule has {rotors_found} and one structure is computed: consider a conformer search"
            text += " (--conformers auto)"
            found.append(_warning("one_conformer", text))
    if "solvent" in params and (note := by_key(params["solvent"]).note):
        found.append(_warning("solvent", note))
    return found
