"""Conformers by distance geometry: many ETKDG structures, refined, without duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.chemistry import duplicates, embed, topology
from qmrunner.chemistry.choose_conformers import SAME_ANGSTROM
from qmrunner.chemistry.embed import Embedded
from qmrunner.chemistry.graphs import load_rdkit
from qmrunner.errors import JobFailedError

# Force fields overrate hydrogen bonds and have no solvent: so the window is wide, and xTB ranks the conformers within
# it.
FORCE_FIELD_WINDOW_KCAL = 15.0
Say = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search: conformers, lowest force-field energy first, and the number of dropped ones for each
    reason."""

    force_field: str
    conformers: tuple[Embedded, ...]
    dropped: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]


def search(
    mol: Any,
    bonds: Sequence[tuple[int, int]],
    candidates: int,
    most: int,
    seed: int,
    say: Say,
    unclear: Sequence[tuple[int, int]] = (),
) -> Found:
    """Conformers of an RDKit molecule with all hydrogens; `bonds` are pairs of atom numbers from 1, `unclear` pairs
    that may be bonded or not.

    A stereocentre that the input leaves open is set as in the first structure found, so that all conformers are one
    isomer. Raises JobFailedError `embed_failed`.
    """
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    notes = _settle_stereo(mol, seed)
    field, found = embed.embed(mol, candidates, seed, lambda fraction, text: say(0.7 * fraction, text))
    say(0.8, f"comparing {len(found)} structures")
    placed, found = (
        found,
        tuple(structure for structure in found if not topology.compare(symbols, bonds, structure.coordinates, unclear)),
    )
    if not found:
        change = topology.compare(symbols, bonds, placed[0].coordinates, unclear)
        raise JobFailedError(
            topology.CODE,
            f"none of {len(placed)} structures by {field} has the bonds of the molecule",
            evidence=topology.described(change, symbols, bonds),
            remedy="give a three-dimensional structure with --conformers crest or none",
        )
    comparer = duplicates.Comparer(symbols, bonds, mirrors=not duplicates.has_stereocentres(symbols, bonds))
    kept: list[Embedded] = []
    outside = same = surplus = 0
    for structure in found:
        if _above(structure, found[0]) > FORCE_FIELD_WINDOW_KCAL:
            outside += 1
        elif any(comparer.distance(structure.coordinates, other.coordinates) < SAME_ANGSTROM for other in kept):
            same += 1
        elif len(kept) >= most:
            surplus += 1
        else:
            kept.append(structure)
    dropped = {
        "other bonds than the molecule": len(placed) - len(found),
        f"more than {FORCE_FIELD_WINDOW_KCAL:g} kcal/mol above the lowest by {field}": outside,
        f"within {SAME_ANGSTROM:g} Å RMSD of one with lower energy": same,
        f"more than the {most} lowest by {field}": surplus,
    }
    return Found(field, tuple(kept), tuple((why, count) for why, count in dropped.items() if count), notes)


def _above(structure: Embedded, lowest: Embedded) -> float:
    if structure.energy_kcal_mol is None or lowest.energy_kcal_mol is None:
        return 0.0
    return structure.energy_kcal_mol - lowest.energy_kcal_mol


def _settle_stereo(mol: Any, seed: int) -> tuple[str, ...]:
    chem = load_rdkit()
    open_ones = [
        element for element in chem.FindPotentialStereo(mol) if str(element.specified) in ("Unspecified", "Unknown")
    ]
    if not open_ones:
        return ()
    embed.embed(mol, 1, seed)
    chem.AssignStereochemistryFrom3D(mol, mol.GetConformer().GetId())
    mol.RemoveAllConformers()
    settled = chem.MolToSmiles(chem.RemoveHs(mol))
    return (f"the input leaves {len(open_ones)} stereo element(s) open: all conformers are of the isomer {settled}",)
