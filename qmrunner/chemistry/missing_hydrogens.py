"""Carbons to which a hydrogen is missing, by the positions of their neighbours alone.

Crystal structures and files for docking have no hydrogens, or only those on N and O; bonds that are perceived later
would make radicals and double bonds of the gaps. A carbon with three neighbours is flat, and one with two is straight,
unless hydrogens are missing. Of 133 molecules optimised by xTB one is mistaken (an ylide). Of their 1,618 hydrogens on
carbon, 8 can be removed unseen: without them the carbon is straight or flat (HCN, bicyclopentane).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qmrunner.chemistry.molecule import Point
from qmrunner.chemistry.topology import RADII, near

_BOND = 1.25  # of the sum of the radii
_FLAT_DEG = 344.0  # the sum of three angles: 360 in a plane, 348 in C60, 328 in a tetrahedron
_STRAIGHT_DEG = 145.0  # 158 in cyclooctyne, 120 in benzene
_TRIPLE_ANGSTROM = 1.19  # of carbon with one neighbour, N or O: CN 1.16, CO 1.13; formaldehyde 1.21


def carbons(symbols: Sequence[str], points: Sequence[Point]) -> tuple[int, ...]:
    """Numbers, from 1, of carbons with a missing hydrogen. Carbenes, pyramidal anions and radicals look the same."""
    around: dict[int, list[int]] = {number: [] for number, symbol in enumerate(symbols, start=1) if symbol == "C"}
    for first, second in near(points):
        radii = RADII.get(symbols[first - 1]), RADII.get(symbols[second - 1])
        if None in radii or math.dist(points[first - 1], points[second - 1]) > _BOND * sum(r for r in radii if r):
            continue
        for number, other in ((first, second), (second, first)):
            if number in around:
                around[number].append(other)
    return tuple(number for number, found in around.items() if _lacks(number, found, symbols, points))


def _lacks(number: int, around: Sequence[int], symbols: Sequence[str], points: Sequence[Point]) -> bool:
    at = points[number - 1]
    places = [points[other - 1] for other in around]
    if len(around) == 3:
        pairs = ((0, 1), (0, 2), (1, 2))
        return sum(_angle(at, places[first], places[second]) for first, second in pairs) < _FLAT_DEG
    if len(around) == 2:
        return _angle(at, *places) < _STRAIGHT_DEG
    if len(around) == 1:
        return symbols[around[0] - 1] not in ("N", "O") or math.dist(at, places[0]) > _TRIPLE_ANGSTROM
    return not around


def _angle(at: Point, first: Point, second: Point) -> float:
    """Degrees between the directions from `at` to the two points."""
    left, right = ([b - a for a, b in zip(at, point, strict=True)] for point in (first, second))
    cosine = sum(a * b for a, b in zip(left, right, strict=True)) / (math.hypot(*left) * math.hypot(*right))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
