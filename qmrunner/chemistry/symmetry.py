"""Which atoms are equivalent by topology, so that a fast molecule shows one signal for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmrunner.chemistry.graphs import load_rdkit


def equivalence_classes(symbols: Sequence[str], bonds: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Groups of equivalent atoms: atom numbers from 1, ascending, groups in the order of their first atom.

    Two atoms are equivalent when the bare graph of elements and connections cannot tell them apart (RDKit canonical
    ranks without tie-breaking). Bond orders are left out on purpose: every hydrogen is in the graph, so they add
    nothing but trouble with Kekulé forms, and the same rule then serves SMILES and XYZ. Stereochemistry is left out
    too: the two hydrogens of a CH2 beside a stereocentre, or of a terminal =CH2, count as equivalent.
    """
    groups: dict[int, list[int]] = {}
    for number, rank in enumerate(topological_ranks(symbols, bonds), start=1):
        groups.setdefault(rank, []).append(number)
    return tuple(tuple(group) for group in groups.values())


def topological_ranks(symbols: Sequence[str], bonds: Sequence[tuple[int, int]]) -> list[int]:
    """One rank an atom; equal ranks are equivalent atoms."""
    chem = load_rdkit()
    return list(chem.CanonicalRankAtoms(bare_graph(symbols, bonds), breakTies=False, includeChirality=False))


def bare_graph(symbols: Sequence[str], bonds: Sequence[tuple[int, int]]) -> Any:
    """The RDKit molecule of these elements and connections, every bond single, no hydrogen added."""
    chem = load_rdkit()
    mol = chem.RWMol()
    for symbol in symbols:
        atom = chem.Atom(symbol)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for first, second in bonds:
        mol.AddBond(first - 1, second - 1, chem.BondType.SINGLE)
    mol.UpdatePropertyCache(strict=False)
    chem.FastFindRings(mol)
    return mol
