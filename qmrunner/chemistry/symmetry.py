"""Finds the atoms that the bonds alone do not distinguish.

Bond orders are ignored on purpose: every hydrogen is in the graph, so bond orders would only cause problems with Kekulé
forms, and without them one rule serves SMILES and XYZ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.chemistry.graphs import load_rdkit


def topological_ranks(
    symbols: Sequence[str], bonds: Sequence[tuple[int, int]], isotopes: Mapping[int, int] | None = None
) -> list[int]:
    """One rank per atom; equal ranks are equivalent atoms. `isotopes`: mass numbers by atom number."""
    chem = load_rdkit()
    graph = bare_graph(symbols, bonds)
    for number, mass in (isotopes or {}).items():
        graph.GetAtomWithIdx(number - 1).SetIsotope(mass)
    return list(chem.CanonicalRankAtoms(graph, breakTies=False, includeChirality=False, includeIsotopes=True))


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
