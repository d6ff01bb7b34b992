"""Stereochemistry of a flat CML: wedges and places of its drawing, `atomParity`, and `bondStereo` C or T."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.chemistry.graphs import load_rdkit

Row = Mapping[str, str]
_DIRECTIONS = {"w": "BEGINWEDGE", "h": "BEGINDASH"}
_SIDES = {"c": "STEREOCIS", "t": "STEREOTRANS"}


def settle(mol: Any, atoms: Sequence[Row], bonds: Sequence[Row], numbers: Mapping[str, int]) -> None:
    """Give a sanitised molecule without coordinates the stereochemistry of its file, and a new drawing that shows it.

    What the file does not state stays open. `numbers` are the indices of the atoms by id.
    """
    chem = load_rdkit()
    from rdkit.Chem import rdDepictor

    if _place(chem, mol, atoms):
        for row, bond in zip(bonds, mol.GetBonds(), strict=True):
            direction = _DIRECTIONS.get(_word(row))
            if direction:
                bond.SetBondDir(getattr(chem.BondDir, direction))
        chem.AssignChiralTypesFromBondDirs(mol)
        chem.DetectBondStereochemistry(mol)
        chem.AssignStereochemistry(mol, cleanIt=True, force=True)
        for bond in mol.GetBonds():  # wedges of the old drawing
            bond.SetBondDir(chem.BondDir.NONE)
    for at, row in enumerate(atoms):
        _set_parity(chem, mol, at, row, numbers)
    for row, bond in zip(bonds, mol.GetBonds(), strict=True):
        _set_sides(chem, bond, row, numbers)
    mol.RemoveAllConformers()
    rdDepictor.Compute2DCoords(mol)
    chem.WedgeMolBonds(mol, mol.GetConformer())


def _word(row: Row) -> str:
    """`w`, `h`, `c` or `t`; conventions write `cml:W`, too."""
    return row.get("bondStereo", "").strip().rpartition(":")[2].lower()


def _place(chem: Any, mol: Any, atoms: Sequence[Row]) -> bool:
    """Put the atoms where the file draws them, if it draws all of them at different places."""
    from rdkit.Geometry import Point3D

    try:
        points = [(float(row["x2"]), float(row["y2"])) for row in atoms]
    except (KeyError, ValueError):
        return False
    if len(set(points)) < len(points):
        return False
    drawn = chem.Conformer(len(points))
    drawn.Set3D(False)
    for index, (x, y) in enumerate(points):
        drawn.SetAtomPosition(index, Point3D(x, y, 0.0))
    mol.AddConformer(drawn)
    return True


def _set_parity(chem: Any, mol: Any, at: int, row: Row, numbers: Mapping[str, int]) -> None:
    """`atomParity` is the sign of the volume that four neighbours span; the atom itself stands for its hydrogen."""
    sign = {"1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1}.get(row.get("atomParity", "").strip())
    named = [numbers.get(name, -1) for name in row.get("stereoRefs", "").split()]
    atom = mol.GetAtomWithIdx(at)
    # RDKit counts an implicit hydrogen as the last neighbour.
    around = [other.GetIdx() for other in atom.GetNeighbors()]
    if len(around) == 3:
        around.append(at)
    if sign is None or len(named) != 4 or sorted(named) != sorted(around):
        return
    order = [around.index(index) for index in named]
    swaps = sum(order[i] > order[j] for i in range(4) for j in range(i + 1, 4))
    clockwise = sign * (-1) ** swaps > 0
    tag = chem.ChiralType.CHI_TETRAHEDRAL_CW if clockwise else chem.ChiralType.CHI_TETRAHEDRAL_CCW
    atom.SetChiralTag(tag)


def _set_sides(chem: Any, bond: Any, row: Row, numbers: Mapping[str, int]) -> None:
    sides = _SIDES.get(_word(row))
    named = [numbers.get(name, -1) for name in row.get("stereoRefs", "").split()]
    ends = [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]
    if sides is None or len(named) != 4 or sorted(named[1:3]) != sorted(ends):
        return
    first, last = (named[0], named[3]) if named[1] == ends[0] else (named[3], named[0])
    mol = bond.GetOwningMol()
    if bond.GetBondType() == chem.BondType.DOUBLE and all(
        mol.GetBondBetweenAtoms(end, other) is not None for end, other in zip(ends, (first, last), strict=True)
    ):
        bond.SetStereoAtoms(first, last)
        bond.SetStereo(getattr(chem.BondStereo, sides))
