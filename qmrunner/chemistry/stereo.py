"""Stereochemistry that an input leaves open."""

from __future__ import annotations

from typing import Any

from qmrunner.chemistry.graphs import load_rdkit


def left_open(mol: Any) -> list[tuple[int, ...]]:
    """The stereocentres, as one atom number from 1, and the double bonds, as two, whose configuration is open."""
    chem = load_rdkit()
    found: list[tuple[int, ...]] = []
    for element in chem.FindPotentialStereo(mol, cleanIt=False, flagPossible=True):
        if element.specified != chem.StereoSpecified.Unspecified:
            continue
        if element.type == chem.StereoType.Atom_Tetrahedral:
            found.append((element.centeredOn + 1,))
        elif element.type == chem.StereoType.Bond_Double:
            bond = mol.GetBondWithIdx(element.centeredOn)
            found.append((bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1))
    return found
