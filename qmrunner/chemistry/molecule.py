"""The molecule as a value, and the checks that need only the value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qmrunner.chemistry.elements import NUMBERS
from qmrunner.errors import UsageError

Point = tuple[float, float, float]

# Smaller than any distance in a molecule: H2 has 0.74 angstrom.
OVERLAP_ANGSTROM = 0.5
# No molecule is larger; larger numbers overflow the columns of formats, and arithmetic.
MOST_ANGSTROM = 1e6


@dataclass(frozen=True, slots=True)
class Molecule:
    """Atoms in input order; hydrogens that the input omits follow after the others.

    `coordinates` are in angstrom, one (x, y, z) per atom, or None when the input has no three-dimensional ones. `bonds`
    are pairs of atom numbers, counted from 1 and the smaller first, or None when they were not determined. `smiles` is
    canonical. `radical_electrons` is their number in the input, None when its format has none. `isotopes` are atom
    numbers with the mass numbers given in the input. `notes` list what was interpreted differently than it is written
    in the file. `plain`: whether every reader of the format reads the same.
    """

    symbols: tuple[str, ...]
    charge: int = 0
    multiplicity: int = 1
    coordinates: tuple[Point, ...] | None = None
    smiles: str | None = None
    bonds: tuple[tuple[int, int], ...] | None = None
    radical_electrons: int | None = None
    title: str = ""
    isotopes: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    plain: bool = True

    @property
    def electrons(self) -> int:
        return electron_count(self.symbols, self.charge)


def electron_count(symbols: Sequence[str], charge: int) -> int:
    """The number of electrons of these atoms with this total charge."""
    return sum(NUMBERS[symbol] for symbol in symbols) - charge


def possible_multiplicities(electrons: int, limit: int = 4) -> tuple[int, ...]:
    """The lowest multiplicities (2S+1) that this number of electrons can have: odd for an even number, even for an
    odd."""
    return tuple(range(1 + electrons % 2, electrons + 2, 2))[:limit]


def choose_multiplicity(symbols: Sequence[str], charge: int, multiplicity: int | None) -> int:
    """`multiplicity` if these electrons allow it; 1 where None was given.

    Raises UsageError `no_electrons` when the charge leaves none, `charge_multiplicity` when the parity does not
    fit; the message names the possible multiplicities.
    """
    electrons = electron_count(symbols, charge)
    if electrons < 1:
        raise UsageError(
            "no_electrons",
            f"charge {charge:+d} leaves this molecule no electrons",
            evidence=f"{electrons + charge} electrons in the neutral atoms",
            remedy="give the right --charge",
        )
    possible = possible_multiplicities(electrons)
    wanted = 1 if multiplicity is None else multiplicity
    if wanted >= 1 and (wanted - 1) % 2 == electrons % 2 and wanted <= electrons + 1:
        return wanted
    listed = ", ".join(map(str, possible))
    raise UsageError(
        "charge_multiplicity",
        f"multiplicity {wanted} is impossible with {electrons} electrons; possible are {listed}"
        + (" and so on" if len(possible) == 4 else ""),
        evidence=f"{electrons} electrons at charge {charge:+d}",
        remedy=f"give --mult {possible[0]}, or another --charge",
    )


# Of atoms farther apart than its edge, a cube holds 8.
_CROWD = 64


def close_pair(coordinates: Sequence[Point], limit: float = OVERLAP_ANGSTROM) -> tuple[int, int, float] | None:
    """The closest pair of atoms nearer than `limit` angstrom: two atom numbers from 1 and their distance, or None.

    Atoms are sorted into cubes with edge `limit`, so the work grows with the number of atoms, not its square.
    """
    cubes: dict[tuple[int, ...], list[int]] = {}
    best: tuple[float, int, int] | None = None
    for number, point in enumerate(coordinates, start=1):
        home = tuple(math.floor(x / limit) for x in point)
        for other in _around(home, cubes):
            distance = math.dist(point, coordinates[other - 1])
            if distance < limit and (best is None or distance < best[0]):
                best = (distance, other, number)
        here = cubes.setdefault(home, [])
        here.append(number)
        if best is not None and len(here) > _CROWD:
            break  # thousands of atoms in one place: the nearest pair so far will do
    return None if best is None else (best[1], best[2], best[0])


def _around(home: tuple[int, ...], cubes: dict[tuple[int, ...], list[int]]) -> Iterator[int]:
    for shift in itertools.product((-1, 0, 1), repeat=3):
        yield from cubes.get((home[0] + shift[0], home[1] + shift[1], home[2] + shift[2]), ())


def check_range(coordinates: Sequence[Point]) -> None:
    """Raise UsageError `coordinate_too_large` for atoms that are farther away than any molecule is large."""
    for number, point in enumerate(coordinates, start=1):
        if max(map(abs, point)) > MOST_ANGSTROM:
            raise UsageError(
                "coordinate_too_large",
                f"a coordinate of atom {number} is larger than {MOST_ANGSTROM:g} Å",
                evidence=", ".join(f"{value:g}" for value in point),
                remedy="the program that wrote this file failed; write the structure again",
            )


def check_no_overlap(symbols: Sequence[str], coordinates: Sequence[Point]) -> None:
    """Raise UsageError `atoms_overlap`, naming the pair, when two atoms are nearer than 0.5 angstrom; and as
    `check_range`."""
    check_range(coordinates)
    pair = close_pair(coordinates)
    if pair is None:
        return
    first, second, distance = pair
    raise UsageError(
        "atoms_overlap",
        f"atoms {first} ({symbols[first - 1]}) and {second} ({symbols[second - 1]}) are only {distance:.3f} Å apart",
        evidence=f"less than {OVERLAP_ANGSTROM} Å",
        remedy="check the coordinates and their unit: they must be in ångström, not bohr or fractional",
    )


def fragments(count: int, bonds: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The connected parts of a molecule with `count` atoms: lists of atom numbers, each in ascending order."""
    neighbours: dict[int, list[int]] = {number: [] for number in range(1, count + 1)}
    for first, second in bonds:
        neighbours[first].append(second)
        neighbours[second].append(first)
    found: list[list[int]] = []
    seen: set[int] = set()
    for start in neighbours:
        if start in seen:
            continue
        part, queue = [], [start]
        seen.add(start)
        while queue:
            atom = queue.pop()
            part.append(atom)
            fresh = [other for other in neighbours[atom] if other not in seen]
            seen.update(fresh)
            queue.extend(fresh)
        found.append(sorted(part))
    return found


def formula(symbols: Sequence[str]) -> str:
    """The sum formula in Hill order: carbon, hydrogen, then the alphabet."""
    counts = {symbol: list(symbols).count(symbol) for symbol in set(symbols)}
    first = [s for s in ("C", "H") if s in counts] if "C" in counts else []
    rest = sorted(s for s in counts if s not in first)
    return "".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in [*first, *rest])
