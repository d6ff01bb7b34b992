"""Checks whether a computed structure is still the submitted molecule, by its bonds, from distances alone.

A bond counts as broken, and a new one as made, only well beyond the lengths in real molecules. Between the two limits
nothing counts as changed, so a stretched bond or a short contact raises no alarm. Distances are compared as multiples
of the sum of the covalent radii (Cordero et al., Dalton Trans. 2008, 2832). Measurements:
docs/explanation/science.md."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from qmrunner.chemistry.elements import SYMBOLS
from qmrunner.chemistry.molecule import Point, formula, fragments

CODE = "topology_changed"
# Measured on 133 molecules optimised by xTB, in vacuum and water: the longest bonds are 1.23 (F2), 1.22 (the proton
# that hydrogen maleate shares) and 1.20 (N-N of N2O4); the closest atoms without a bond 1.67, with hydrogen 1.31
# (maleate).
BROKEN_BEYOND = 1.35
MADE_WITHIN = 1.25
# Two heavy atoms with a common neighbour may be close without a bond: 1.09 (silicons of a ring (SiO)2), 1.22
# (bicyclopentane).
MADE_WITHIN_ANGLE = 1.04
_FARTHEST = 2.6 * 2 * MADE_WITHIN  # angstrom; no pair farther apart is below a limit
_SHOWN = 4
# Angstrom, in the order of the elements, to radon. Low spin where the table has two values.
_RADII = """
.31 .28
1.28 .96 .84 .76 .71 .66 .57 .58
1.66 1.41 1.21 1.11 1.07 1.05 1.02 1.06
2.03 1.76 1.70 1.60 1.53 1.39 1.39 1.32 1.26 1.24 1.32 1.22 1.22 1.20 1.19 1.20 1.20 1.16
2.20 1.95 1.90 1.75 1.64 1.54 1.47 1.46 1.42 1.39 1.45 1.44 1.42 1.39 1.39 1.38 1.39 1.40
2.44 2.15 2.07 2.04 2.03 2.01 1.99 1.98 1.98 1.96 1.94 1.92 1.92 1.89 1.90 1.87 1.87 1.75 1.70 1.62 1.51 1.44 1.41
1.36 1.36 1.32 1.45 1.46 1.48 1.40 1.50 1.50
"""
RADII: dict[str, float] = dict(zip(SYMBOLS, map(float, _RADII.split()), strict=False))
# Includes the metalloids. All others are metals.
_NONMETALS = frozenset(
    SYMBOLS[number - 1] for number in (*range(1, 3), *range(5, 11), *range(14, 19), *range(32, 37), 51, 52, 53, 54)
)
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """Bonds of the molecule that a structure lacks, and additional bonds of the structure: atom numbers from 1, smaller
    first."""

    broken: tuple[Pair, ...] = ()
    made: tuple[Pair, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.broken or self.made)


def compare(
    symbols: Sequence[str], bonds: Collection[Pair], coordinates: Sequence[Point], unclear: Collection[Pair] = ()
) -> Change:
    """How the bonds at `coordinates` (angstrom) differ from `bonds`.

    A hydrogen that approaches a second atom and keeps its first bond is shared, and has not moved. Pairs in `unclear`
    may be bonded or not (see `unclear_pairs`). Bonds of metals are coordination: they are checked only when a part of
    the molecule has left. An element after radon has no radius and is not compared."""
    expected = {(min(pair), max(pair)) for pair in bonds}
    ignored = {(min(pair), max(pair)) for pair in unclear}
    broken = {pair for pair in expected - ignored if (_ratio(symbols, coordinates, pair) or 0.0) > BROKEN_BEYOND}
    of_metals = {pair for pair in broken if not _plain(symbols, pair)}
    if of_metals and not _parts_left(len(symbols), expected, broken):
        broken -= of_metals
    around = _neighbours(len(symbols), expected)
    made = {
        pair
        for pair in near(coordinates)
        if pair not in expected and pair not in ignored and _plain(symbols, pair)
        and (_ratio(symbols, coordinates, pair) or math.inf) < _made_within(symbols, pair, around)
    }  # fmt: skip
    free = {number for pair in broken for number in _hydrogens(symbols, pair)}
    made = {pair for pair in made if free.issuperset(_hydrogens(symbols, pair))}
    return Change(tuple(sorted(broken)), tuple(sorted(made)))


def unclear_pairs(symbols: Sequence[str], bonds: Collection[Pair], coordinates: Sequence[Point]) -> tuple[Pair, ...]:
    """Pairs whose distance leaves open whether they are bonded: of a structure whose `bonds` were perceived from it."""
    own = {(min(pair), max(pair)) for pair in bonds}
    found = []
    for pair in near(coordinates):
        ratio = _ratio(symbols, coordinates, pair)
        if ratio is not None and (ratio > MADE_WITHIN if pair in own else ratio < BROKEN_BEYOND):
            found.append(pair)
    return tuple(sorted(found))


def described(change: Change, symbols: Sequence[str], bonds: Collection[Pair]) -> str:
    """The change in words: ``H8 moved from N1 to O5``, ``the bond C1-C4 broke and its ring opened``, ``CO2 (C3, O4,
    O5) left``. Empty without a change."""
    expected = {(min(pair), max(pair)) for pair in bonds}
    broken, made = list(change.broken), list(change.made)
    changes = []
    for hydrogen in sorted({number for pair in broken for number in pair if symbols[number - 1] == "H"}):
        lost = [pair for pair in broken if hydrogen in pair]
        new = [pair for pair in made if hydrogen in pair]
        if len(lost) == 1 and new:
            changes.append(
                f"{_atom(symbols, hydrogen)} moved from {_atom(symbols, _other(lost[0], hydrogen))} to "
                + " and ".join(_atom(symbols, _other(pair, hydrogen)) for pair in new)
            )
            broken.remove(lost[0])
            made = [pair for pair in made if pair not in new]
    now = (expected - set(change.broken)) | set(change.made)
    parts = fragments(len(symbols), tuple(now))
    home = {number: index for index, part in enumerate(parts) for number in part}
    for pair in broken[:_SHOWN]:
        name = "-".join(_atom(symbols, number) for number in pair)
        changes.append(f"the bond {name} broke" + (" and its ring opened" if home[pair[0]] == home[pair[1]] else ""))
    changes += [f"{'-'.join(_atom(symbols, number) for number in pair)} became a bond" for pair in made[:_SHOWN]]
    if more := max(0, len(broken) - _SHOWN) + max(0, len(made) - _SHOWN):
        changes.append(f"{more} more bonds changed")
    if len(parts) > len(fragments(len(symbols), tuple(expected))):
        for part in sorted(parts, key=len)[:-1][:_SHOWN]:
            atoms = ", ".join(_atom(symbols, number) for number in part[:6]) + (" …" if len(part) > 6 else "")
            changes.append(f"{formula([symbols[number - 1] for number in part])} ({atoms}) left")
    return "; ".join(changes)


def accepted(text: str) -> str:
    """The note on a change that the job accepts."""
    return f"it became another molecule, which was accepted (--allow-topology-change): {text}"


def remedy(*, in_vacuum: bool) -> str:
    """The remedy for a change."""
    solvent = (
        "zwitterions and other separated charges exist in a solvent, not in vacuum: give --solvent water; or "
        if in_vacuum
        else ""
    )
    return (
        f"{solvent}submit the molecule that it became, if you want that one; or accept it with --allow-topology-change"
    )


def _atom(symbols: Sequence[str], number: int) -> str:
    return f"{symbols[number - 1]}{number}"


def _other(pair: Pair, number: int) -> int:
    return pair[0] if pair[1] == number else pair[1]


def _ratio(symbols: Sequence[str], coordinates: Sequence[Point], pair: Pair) -> float | None:
    """The distance over the sum of the radii; None where a radius is not known."""
    first, second = (RADII.get(symbols[number - 1]) for number in pair)
    if first is None or second is None:
        return None
    return math.dist(coordinates[pair[0] - 1], coordinates[pair[1] - 1]) / (first + second)


def _plain(symbols: Sequence[str], pair: Pair) -> bool:
    return all(symbols[number - 1] in _NONMETALS for number in pair)


def _hydrogens(symbols: Sequence[str], pair: Pair) -> tuple[int, ...]:
    return tuple(number for number in pair if symbols[number - 1] == "H")


def _made_within(symbols: Sequence[str], pair: Pair, around: Sequence[set[int]]) -> float:
    if _hydrogens(symbols, pair):
        return MADE_WITHIN
    return MADE_WITHIN_ANGLE if around[pair[0]] & around[pair[1]] else MADE_WITHIN


def _neighbours(count: int, bonds: Collection[Pair]) -> list[set[int]]:
    """The neighbours of each atom, by its number from 1."""
    around: list[set[int]] = [set() for _ in range(count + 1)]
    for first, second in bonds:
        around[first].add(second)
        around[second].add(first)
    return around


def _parts_left(count: int, expected: set[Pair], broken: set[Pair]) -> bool:
    return len(fragments(count, tuple(expected - broken))) > len(fragments(count, tuple(expected)))


def near(coordinates: Sequence[Point]) -> Iterator[Pair]:
    """Pairs close enough to be compared. Atoms are sorted into cubes, so that the work grows with the number of
    atoms."""
    cubes: dict[tuple[int, ...], list[int]] = {}
    for number, point in enumerate(coordinates, start=1):
        home = tuple(math.floor(x / _FARTHEST) for x in point)
        for shift in ((a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)):
            for other in cubes.get(tuple(h + s for h, s in zip(home, shift, strict=True)), ()):
                yield other, number
        cubes.setdefault(home, []).append(number)
