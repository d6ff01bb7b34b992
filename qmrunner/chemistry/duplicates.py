"""Whether two conformers are the same: symmetry-aware root mean square distance. Pure numpy over RDKit's matches.

The comparison covers heavy atoms and hydrogens on atoms other than carbon, so that a rotated hydroxyl is another
conformer and a rotated methyl is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmrunner.chemistry.symmetry import bare_graph, topological_ranks

_MOST_MATCHES = 2000
_STEREO_ELEMENTS = frozenset({"C", "Si", "P", "S", "N"})


class Comparer:
    """Compares conformers of one molecule: element symbols, bonds as pairs of atom numbers from 1.

    `mirrors`: whether mirror images count as the same: they have the same energy and, for a molecule without
    stereocentres, the same spectrum.
    """

    def __init__(self, symbols: Sequence[str], bonds: Sequence[tuple[int, int]], mirrors: bool) -> None:
        self.mirrors = mirrors
        self._chosen = _compared(symbols, bonds)
        self._matches = _automorphisms(symbols, bonds, self._chosen)

    def distance(self, first: ArrayLike, second: ArrayLike) -> float:
        """Least RMSD in angstrom of two structures, shape (atoms, 3), over all equivalent numberings."""
        direct, mirrored = self._both(first, second)
        return min(direct, mirrored) if self.mirrors else direct

    def is_own_mirror(self, structure: ArrayLike, threshold_angstrom: float) -> bool:
        """Whether a structure can be superimposed on its mirror image."""
        return self._both(structure, structure)[1] < threshold_angstrom

    def _both(self, first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
        left, right = (_centred(np.asarray(points, dtype=float)[self._chosen]) for points in (first, second))
        mixed = right[self._matches]
        covariance = np.einsum("ni,mnj->mij", left, mixed)
        singular = np.linalg.svd(covariance, compute_uv=False)
        sign = np.sign(np.linalg.det(covariance))
        size = float((left**2).sum() + (right**2).sum())
        rotated = singular[:, 0] + singular[:, 1] + sign * singular[:, 2]
        mirrored = singular[:, 0] + singular[:, 1] - sign * singular[:, 2]
        count = len(self._chosen)
        direct, other = (np.sqrt(max(0.0, size - 2 * float(best.max())) / count) for best in (rotated, mirrored))
        return float(direct), float(other)


def has_stereocentres(symbols: Sequence[str], bonds: Sequence[tuple[int, int]]) -> bool:
    """Whether an atom has four different neighbours by topology, bond orders left out.

    Axial chirality is not detected; a meso form counts as having stereocentres, which only costs time.
    """
    ranks = topological_ranks(symbols, bonds)
    for atom in bare_graph(symbols, bonds).GetAtoms():
        around = [ranks[other.GetIdx()] for other in atom.GetNeighbors()]
        needed = 3 if atom.GetSymbol() in ("S", "P") else 4
        if atom.GetSymbol() in _STEREO_ELEMENTS and len(around) >= needed and len(set(around)) == len(around):
            return True
    return False


def _compared(symbols: Sequence[str], bonds: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    carbon_bound = {
        hydrogen
        for pair in bonds
        for hydrogen, other in (pair, pair[::-1])
        if symbols[hydrogen - 1] == "H" and symbols[other - 1] == "C"
    }
    chosen = [index for index in range(len(symbols)) if index + 1 not in carbon_bound]
    return np.asarray(chosen or range(len(symbols)), dtype=np.int64)


def _automorphisms(
    symbols: Sequence[str], bonds: Sequence[tuple[int, int]], chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """All mappings of the compared part of the molecule onto itself, shape (ways, compared atoms)."""
    place = {int(index) + 1: position + 1 for position, index in enumerate(chosen)}
    part = [symbols[int(index)] for index in chosen]
    kept = [(place[a], place[b]) for a, b in bonds if a in place and b in place]
    mol = bare_graph(part, kept)
    matches = mol.GetSubstructMatches(mol, uniquify=False, maxMatches=_MOST_MATCHES)
    # CH2 and CH3 differ by hydrogens that are not compared: without this they would match each other.
    degrees = [sum(number in pair for pair in bonds) for number in (int(index) + 1 for index in chosen)]
    fitting = [match for match in matches if all(degrees[to] == degrees[at] for at, to in enumerate(match))]
    return np.asarray(fitting or [tuple(range(len(part)))], dtype=np.int64)


def _centred(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points - points.mean(axis=0), dtype=np.float64)
