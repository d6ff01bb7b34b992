"""Draws the molecule with atom numbers, and writes an SDF file with the assignment (NMReDATA 1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.chemistry.graphs import load_rdkit
from qmrunner.chemistry.molecule import formula
from qmrunner.chemistry.spectrum_signals import signals

_PIXELS_PER_ANGSTROM = 56
# Circle around each atom by which a page selects it, angstrom.
_NEAR_ANGSTROM = 0.4
_TAGS = re.compile(r"<(?:path|circle)\s[^<>]*class='(?P<what>atom|bond)-selector[^<>]*/>\n?")
_TAG = re.compile(r"cx='([0-9.]+)' cy='([0-9.]+)' r='([0-9.]+)' class='atom-selector atom-([0-9]+)'")


def draw_structure(mol: Any) -> str:
    """SVG of a molecule with all hydrogens: heavy atoms drawn, each with its number and those of its hydrogens.

    Each has an invisible circle of class `atom`, whose `data-atoms` are these numbers, for pages that select atoms.
    """
    chem = load_rdkit()
    from rdkit.Chem import rdDepictor
    from rdkit.Chem.Draw import rdMolDraw2D

    flat = chem.Mol(mol)
    for atom in flat.GetAtoms():
        atom.SetIntProp("number", atom.GetIdx() + 1)
    shown = _without_hydrogens(chem, flat)
    for atom in shown.GetAtoms():
        atom.SetProp("atomNote", _note(mol, atom))
    shown.RemoveAllConformers()
    rdDepictor.Compute2DCoords(shown)
    drawer = rdMolDraw2D.MolDraw2DSVG(-1, -1)  # sized to fit the molecule
    options: Any = drawer.drawOptions()
    options.annotationFontScale = 0.55
    options.padding = 0.1
    options.scalingFactor = _PIXELS_PER_ANGSTROM
    options.maxFontSize = 22
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, shown)
    drawer.TagAtoms(shown, _NEAR_ANGSTROM)
    drawer.FinishDrawing()
    members = [" ".join(map(str, (atom.GetIntProp("number"), *_hydrogens(mol, atom)))) for atom in shown.GetAtoms()]
    return _TAGS.sub(lambda tag: _circle(tag[0], members) if tag["what"] == "atom" else "", drawer.GetDrawingText())


def _circle(tag: str, members: Sequence[str]) -> str:
    """RDKit's circle of an atom, as one with the numbers of its atoms; empty for one that RDKit added."""
    hit = _TAG.search(tag)
    if hit is None or int(hit[4]) >= len(members):
        return ""
    place = f"cx='{hit[1]}' cy='{hit[2]}' r='{hit[3]}'"
    return f"<circle class='atom' data-atoms='{members[int(hit[4])]}' {place} fill='none' stroke='none' />\n"


def _without_hydrogens(chem: Any, mol: Any) -> Any:
    from rdkit import rdBase

    with rdBase.BlockLogs():
        try:
            return chem.RemoveHs(mol, sanitize=True)
        except ValueError:
            return mol  # without bond orders: drawn unchanged


def _note(mol: Any, atom: Any) -> str:
    hydrogens = _hydrogens(mol, atom)
    return f"{atom.GetIntProp('number')}" + (f" (H{','.join(map(str, hydrogens))})" if hydrogens else "")


def _hydrogens(mol: Any, atom: Any) -> list[int]:
    """Numbers of the hydrogens on an atom of the drawing that is none itself."""
    number = atom.GetIntProp("number")
    around = mol.GetAtomWithIdx(number - 1).GetNeighbors() if atom.GetSymbol() != "H" else ()
    return [other.GetIdx() + 1 for other in around if other.GetSymbol() == "H"]


def nmredata(mol: Any, result: Mapping[str, Any], task: Mapping[str, Any], smiles: str | None) -> str:
    """One SDF record: the structure in angstrom and predicted shifts in ppm under the tags of NMReDATA 1.1."""
    chem = load_rdkit()
    rows = result["shifts"]
    tags = {
        "NMREDATA_VERSION": ["1.1"],
        "NMREDATA_LEVEL": ["0"],
        "NMREDATA_SOLVENT": [str(task["solvent"])],
        "NMREDATA_TEMPERATURE": [f"{float(task['temperature_k']):.2f} K"],
        "NMREDATA_FORMULA": [formula(task["atoms"] if "atoms" in task else task["symbols"])],
        "NMREDATA_SMILES": [smiles] if smiles else [],
        "NMREDATA_ASSIGNMENT": [
            f"{_label(rows, atoms)}, {shift:.4f}, {', '.join(map(str, atoms))} ;predicted{_error(rows, atoms)}"
            for shift, atoms in signals(rows)
        ],
    }
    for nucleus, larmor_mhz in (("1H", "500.00"), ("13C", "125.72")):
        chosen = [row for row in rows if row["nucleus"] == nucleus]
        if chosen:
            # The standard defines the order of the attributes. Of a carbon, N is its number of hydrogens.
            lines = [
                f"{shift:.4f}, N={len(atoms) if nucleus == '1H' else _bound_hydrogens(mol, atoms[0])}, "
                f"L={_label(rows, atoms)}"
                for shift, atoms in signals(chosen)
            ]
            # Readers need a frequency. No spectrum was measured, so none can be named.
            head = [f";predicted: {task['level']} level, Larmor is nominal", f"Larmor={larmor_mhz}"]
            tags[f"NMREDATA_1D_{nucleus}"] = [*head, *lines]
    return str(chem.MolToMolBlock(mol)) + "".join(_tag(name, lines) for name, lines in tags.items() if lines) + "$$$$\n"


def _bound_hydrogens(mol: Any, number: int) -> int:
    """How many hydrogens are bound to an atom."""
    return sum(atom.GetAtomicNum() == 1 for atom in mol.GetAtomWithIdx(number - 1).GetNeighbors())


def _tag(name: str, lines: Sequence[str]) -> str:
    return f">  <{name}>\n" + "".join(f"{line}\\\n" for line in lines) + "\n"


def _error(rows: Sequence[Mapping[str, Any]], atoms: Sequence[int]) -> str:
    """The ± of a signal in ppm and its kind of atom, as far as known; in ASCII, as a MOL block requires."""
    row = next(row for row in rows if row["atom"] == atoms[0])
    error = "" if row["uncertainty_ppm"] is None else f", +/- {row['uncertainty_ppm']:.2f} ppm"
    return error + (f", {row['kind']}" if row["kind"] else "")


def _label(rows: Sequence[Mapping[str, Any]], atoms: Sequence[int]) -> str:
    symbol = next(row["symbol"] for row in rows if row["atom"] == atoms[0])
    return f"{symbol}{atoms[0]}"
