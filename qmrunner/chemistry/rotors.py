"""Counts how flexible a molecule is, from the graph of atoms and bonds alone. Needs neither RDKit nor numpy."""

from __future__ import annotations

from collections.abc import Sequence

# Number of neighbours of an atom whose single bonds rotate freely.
_SATURATED = {"C": 4, "Si": 4, "N": 3, "P": 3, "O": 2, "S": 2, "Se": 2}
_MOST_KEPT = 30
_MOST_CANDIDATES = 300


def rotors(symbols: Sequence[str], bonds: Sequence[tuple[int, int]]) -> int:
    """The number of rotatable single bonds, plus one for each extra bond of a flexible ring.

    A bond counts when it is in no ring, both ends have further neighbours and at least one end is saturated. Rotating a
    methyl gives no other conformer; rotating a hydroxyl or amine does. Amides, esters and biaryls count by their
    saturated bonds only.
    """
    around: dict[int, set[int]] = {number: set() for number in range(1, len(symbols) + 1)}
    for first, second in bonds:
        around[first].add(second)
        around[second].add(first)
    turning = sum(_turns(first, second, symbols, around) for first, second in bonds)
    return turning + _ring_flexibility(symbols, bonds, around)


def default_kept(turning: int) -> int:
    """How many conformers are kept by default."""
    return min(_MOST_KEPT, 3 + 3 * turning)


def default_candidates(turning: int) -> int:
    """How many structures are embedded."""
    return min(_MOST_CANDIDATES, 10 + 30 * turning)


def _turns(first: int, second: int, symbols: Sequence[str], around: dict[int, set[int]]) -> bool:
    ends = (first, second)
    if any(len(around[end]) < 2 for end in ends) or not any(_saturated(end, symbols, around) for end in ends):
        return False
    if any(symbols[end - 1] == "C" and len(around[end]) == 2 for end in ends):
        return False  # a linear end: sp carbon
    for end, other in (ends, ends[::-1]):
        rest = [symbols[number - 1] for number in around[end] - {other}]
        if len(rest) == 3 and len(set(rest)) == 1 and all(len(around[n]) == 1 for n in around[end] - {other}):
            return False  # threefold: CH3, CF3, NH3+
    return not _connected_without(first, second, around)


def _saturated(number: int, symbols: Sequence[str], around: dict[int, set[int]]) -> bool:
    return len(around[number]) == _SATURATED.get(symbols[number - 1])


def _connected_without(first: int, second: int, around: dict[int, set[int]]) -> bool:
    """Whether the two ends of a bond are also joined another way: the bond is in a ring."""
    seen, queue = {first}, [number for number in around[first] if number != second]
    while queue:
        number = queue.pop()
        if number == second:
            return True
        if number not in seen:
            seen.add(number)
            queue += around[number] - seen
    return False


def _ring_flexibility(symbols: Sequence[str], bonds: Sequence[tuple[int, int]], around: dict[int, set[int]]) -> int:
    saturated = [
        pair
        for pair in bonds
        if all(_saturated(end, symbols, around) for end in pair) and _connected_without(*pair, around)
    ]
    # A ring of three or four saturated bonds is rigid or nearly so.
    return max(0, len(saturated) - 3) // 2
