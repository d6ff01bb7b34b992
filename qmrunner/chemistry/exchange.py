"""Finds the atoms that share a signal: a symmetry of the molecule exchanges them, with all fast motions allowed.

A symmetry is a renumbering of the atoms that preserves the bonds, and everything that does not change during an NMR
measurement: the arrangement of the neighbours of each stereocentre (of all stereocentres, or of none: mirror images
give one spectrum), and the sides of each bond that hardly rotates. So the hydrogens of a methyl are one signal, those
of a CH2 next to a stereocentre are two. Single bonds rotate, rings flip, and nitrogen inverts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmrunner.chemistry.symmetry import topological_ranks

Pair = tuple[int, int]
Groups = tuple[tuple[int, ...], ...]
_MOST_TRIALS = 50_000
_PYRAMIDAL = frozenset({"S", "P", "Se", "As"})
# Volume spanned by three unit vectors: 0.77 for the edges of a tetrahedron; a centre below this counts as flat.
_FLAT = 0.15


@dataclass(frozen=True, slots=True)
class Shape:
    """The fixed features of one structure: the handedness of each centre, by its neighbours in ascending order, and the
    atoms on one side of each bond that hardly rotates."""

    hands: Mapping[int, int]
    sides: Mapping[Pair, Mapping[Pair, bool]]


class Frame:
    """Atoms and bonds of a molecule; isotopes, by atom number, make atoms different."""

    def __init__(self, symbols: Sequence[str], bonds: Sequence[Pair], isotopes: Mapping[int, int]) -> None:
        self.symbols = symbols
        self.ranks = dict(enumerate(topological_ranks(symbols, bonds, isotopes), start=1))
        around: dict[int, list[int]] = {number: [] for number in self.ranks}
        for a, b in bonds:
            around[a].append(b)
            around[b].append(a)
        self.around = {number: sorted(others) for number, others in around.items()}

    def classes(self) -> Groups:
        """Groups of atoms that the bonds alone do not distinguish, in the order of their first atom."""
        found: dict[int, list[int]] = {}
        for number, rank in self.ranks.items():
            found.setdefault(rank, []).append(number)
        return tuple(tuple(group) for group in found.values())

    def shape(self, points: NDArray[np.float64], stiff: Collection[Pair]) -> Shape:
        """The shape of a structure (atoms, 3); `stiff` are the bonds that hardly rotate."""
        hands = {}
        for centre, others in self.around.items():
            symbol = self.symbols[centre - 1]
            needed = 3 if symbol in _PYRAMIDAL else 4
            # A proton on nitrogen exchanges, and nitrogen inverts meanwhile.
            loose = symbol == "N" and any(self.symbols[other - 1] == "H" for other in others)
            if needed <= len(others) <= 4 and not loose:
                edges = [_unit(points[other - 1] - points[centre - 1]) for other in others[:3]]
                volume = float(np.linalg.det(np.array(edges)))
                if abs(volume) > _FLAT:
                    hands[centre] = 1 if volume > 0 else -1
        sides = {pair: found for a, b in stiff for pair in ((a, b), (b, a)) if (found := self._sides(points, *pair))}
        return Shape(hands, sides)

    def _sides(self, points: NDArray[np.float64], a: int, b: int) -> dict[Pair, bool]:
        axis = _unit(points[b - 1] - points[a - 1])
        found = {}
        for s in self.around[a]:
            for t in self.around[b]:
                if s in (b, t) or t == a:
                    continue
                ends = (points[s - 1] - points[a - 1], points[t - 1] - points[b - 1])
                off = [end - axis * float(end @ axis) for end in ends]
                if min(float(np.linalg.norm(vector)) for vector in off) < 0.3:
                    return {}  # a linear end has no sides
                cosine = float(_unit(off[0]) @ _unit(off[1]))
                if abs(cosine) < 0.5:
                    return {}  # twisted: its sides are not defined
                found[s, t] = cosine > 0
        return found

    def groups(self, shape: Shape) -> Groups:
        """Atoms that a symmetry exchanges, in the order of their first atom. If the search takes too long, the bonds
        alone decide."""
        found: list[tuple[int, ...]] = []
        for members in self.classes():
            parts: list[list[int]] = []
            for atom in members:
                for part in parts:
                    if self.match(shape, shape, {part[0]: atom}) is not None:
                        part.append(atom)
                        break
                else:
                    parts.append([atom])
            found += [tuple(part) for part in parts]
        return tuple(sorted(found))

    def onto(self, shape: Shape, other: Shape) -> dict[int, int] | None:
        """For each atom of the first structure the matching atom of the second, the same number if it fits; None when
        the second is another stereoisomer."""
        first = min(self.classes(), key=lambda group: (len(group), group))
        images = sorted(first, key=lambda atom: atom != first[0])
        found = (self.match(shape, other, {first[0]: image}) for image in images)
        return next((image for image in found if image is not None and len(image) == len(self.around)), None)

    def match(self, shape: Shape, other: Shape, start: Mapping[int, int]) -> dict[int, int] | None:
        """A symmetry that maps `shape` to `other` or to its mirror image, and the atoms of `start` as given there."""
        for mirror in (1, -1):
            search = _Search(self, shape, other, mirror, start)
            if search.run():
                return search.image
        return None


class _Search:
    """Walks along the bonds, assigns each atom an image, and backtracks when one does not fit."""

    def __init__(self, frame: Frame, shape: Shape, other: Shape, mirror: int, start: Mapping[int, int]) -> None:
        self.frame, self.shape, self.other, self.mirror = frame, shape, other, mirror
        self.image = dict(start)
        self._used = set(start.values())
        self._order = list(_walk(frame.around, next(iter(start))))
        self._trials = 0

    def run(self) -> bool:
        return self._place(1)

    def _place(self, at: int) -> bool:
        self._trials += 1
        if at == len(self._order) or self._trials > _MOST_TRIALS:
            return True
        atom, parent = self._order[at]
        for candidate in self._candidates(atom, parent):
            self.image[atom] = candidate
            self._used.add(candidate)
            if self._fits(atom) and self._place(at + 1):
                return True
            del self.image[atom]
            self._used.discard(candidate)
        return False

    def _candidates(self, atom: int, parent: int) -> list[int]:
        around, ranks = self.frame.around, self.frame.ranks
        placed = [self.image[other] for other in around[atom] if other in self.image]
        free = [
            image
            for image in around[self.image[parent]]
            if image not in self._used
            and ranks[image] == ranks[atom]
            and all(image in around[other] for other in placed)
        ]
        free.sort(key=lambda image: image != atom)
        # The three hydrogens of a methyl exchange: their order makes no difference.
        return free[:1] if len(free) == 3 and len(around[atom]) == 1 else free

    def _fits(self, atom: int) -> bool:
        around = self.frame.around
        near = (atom, *around[atom])
        if not all(self._same_hand(centre) for centre in near):
            return False
        ends = {pair for a in near for b in around[a] for pair in ((a, b), (b, a))}
        return all(self._same_sides(pair) for pair in ends if pair in self.shape.sides)

    def _same_hand(self, centre: int) -> bool:
        hand, others = self.shape.hands.get(centre), self.frame.around[centre]
        if hand is None or centre not in self.image or any(other not in self.image for other in others):
            return True
        images = [self.image[other] for other in others]
        found = self.other.hands.get(self.image[centre])
        return found is None or hand * self.mirror == found * _parity(images)

    def _same_sides(self, pair: Pair) -> bool:
        a, b = pair
        if a not in self.image or b not in self.image:
            return True
        there = self.other.sides.get((self.image[a], self.image[b]))
        return there is not None and all(
            there.get((self.image[s], self.image[t])) == same
            for (s, t), same in self.shape.sides[pair].items()
            if s in self.image and t in self.image
        )


def _walk(around: Mapping[int, Sequence[int]], start: int) -> Iterator[Pair]:
    """Each atom with the atom from which it was reached, nearest first."""
    seen, queue = {start}, [(start, start)]
    for atom, parent in queue:
        yield atom, parent
        for other in around[atom]:
            if other not in seen:
                seen.add(other)
                queue.append((other, atom))


def _parity(numbers: Sequence[int]) -> int:
    swaps = sum(numbers[i] > numbers[j] for i in range(len(numbers)) for j in range(i + 1, len(numbers)))
    return -1 if swaps % 2 else 1


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float64)
