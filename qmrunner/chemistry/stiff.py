"""Bonds that hardly rotate during an NMR measurement, by their kind.

At 298 K two signals are seen above some 17 kcal/mol, one below some 12; sources of the barriers are in
docs/explanation/science.md, and those without one there are from memory.
"""

from __future__ import annotations

from typing import Any

from qmrunner.chemistry.graphs import load_rdkit
from qmrunner.chemistry.symmetry import topological_ranks

Pair = tuple[int, int]
# Each pattern starts and ends at an atom of the bond. C=C and C=N (not amidines: they exchange by proton transfer and
# rotation), amides and thioamides (18 to 24 kcal/mol; DMF 21), nitrosamines (23).
_SLOW = (
    "[C:1]=[C:2]",
    "[C;!$(C([#7])=[#7])!$(C(=[#7])[#7]):1]=[N:2]",
    "[C;$(C(=[O,S])([#6,#1])[NX3])!$(C(=[O,S])([NX3])[NX3,O,S]):1]-[NX3:2]",
    "[N;X2;$(N=O):1]-[NX3:2]",
)
# Between the two: carbamates (12 to 17), ureas (11 to 14), amidines and guanidines (12 to 18), and vinylogous amides
# (enaminones; from memory 13 to 16).
_BETWEEN = (
    "[C;$(C(=[O,S])([NX3])[NX3,O,S]):1]-[NX3:2]",
    "[C;$(C(=[#7])[NX3]):1]-[NX3:2]",
    "[C;$(C=C[C,N;$(*=[O,S]),$(*#N)]):1]-[NX3:2]",
)
_LARGEST_SMALL_RING = 7


def slow(mol: Any) -> list[Pair]:
    """Atom numbers, from 1, of both ends of each bond that is slow to turn. `mol` has bond orders and hydrogens."""
    return sorted(_found(mol, _SLOW) - _delocalised(mol).keys())


def between(mol: Any) -> list[Pair]:
    """The same of those about which two signals are seen, or one, as temperature and solvent will: with them the bonds
    that one formula draws double and another single, as in an allyl anion."""
    alike = [pair for pairs in _delocalised(mol).values() for pair in pairs]
    return sorted(_found(mol, _BETWEEN) | set(alike))


def _delocalised(mol: Any) -> dict[Pair, list[Pair]]:
    """Slow bonds that resonance makes the same as a fast one (the graph cannot distinguish them), with all of those."""
    slow_pairs = _found(mol, _SLOW)
    if not slow_pairs:
        return {}
    bonds = [(bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1) for bond in mol.GetBonds()]
    ranks = topological_ranks([atom.GetSymbol() for atom in mol.GetAtoms()], bonds)
    alike: dict[Pair, list[Pair]] = {}
    for a, b in bonds:
        low, high = sorted((ranks[a - 1], ranks[b - 1]))
        alike.setdefault((low, high), []).append((min(a, b), max(a, b)))
    mixed = (group for group in alike.values() if not slow_pairs.issuperset(group))
    return {pair: group for group in mixed for pair in group if pair in slow_pairs}


def _found(mol: Any, patterns: tuple[str, ...]) -> set[Pair]:
    chem = load_rdkit()
    rings = mol.GetRingInfo()
    pairs = set()
    for pattern in patterns:
        for a, b in mol.GetSubstructMatches(chem.MolFromSmarts(pattern)):
            bond = mol.GetBondBetweenAtoms(a, b)
            # Bonds in a small ring do not rotate; the whole ring changes its shape.
            if not bond.GetIsAromatic() and not any(
                rings.IsBondInRingOfSize(bond.GetIdx(), size) for size in range(3, _LARGEST_SMALL_RING + 1)
            ):
                pairs.add((min(a, b) + 1, max(a, b) + 1))
    return pairs
