"""Stereochemistry that an input leaves open."""

from __future__ import annotations

from typing import Any

from qmrunner.chemistry.graphs import load_rdkit


def _cumulated(bond: Any) -> int:
    """How many double bonds in a row this one belongs to."""
    count = 1
    for atom in (bond.GetBeginAtom(), bond.GetEndAtom()):
        last, at = bond, atom
        while count <= bond.GetOwningMol().GetNumBonds():
            following = [
                other for other in at.GetBonds() if other.GetIdx() != last.GetIdx() and other.GetBondTypeAsDouble() == 2
            ]
            if len(following) != 1 or at.GetDegree() > 2:
                break
            count, last = count + 1, following[0]
            at = last.GetOtherAtom(at)
    return count


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
            if _cumulated(bond) % 2 == 0:
                continue  # the ends of an allene or azide are at right angles, or one of them has no substituent
            found.append((bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1))
    return found
