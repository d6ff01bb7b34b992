"""The points of a geometry optimisation, as NWChem prints them. Checked against 7.0.2."""

from __future__ import annotations

from dataclasses import dataclass

from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.input.generated_deck import Geometry
from qmrunner.engines.nwchem.output.energies import EnergyReader
from qmrunner.engines.nwchem.output.numbers import Table, numbers
from qmrunner.engines.nwchem.output.tables import GeometryReader

# Limit of one output: the coordinates of all points together.
_MOST_NUMBERS = 300_000


class Gradient:
    """The last gradient that a task printed, with six decimals."""

    def __init__(self) -> None:
        values = r"\s+".join([r"(-?\d+\.\d+)"] * 6)
        self._table = Table("ENERGY GRADIENTS", rf"^\s+\d+\s+\S+\s+{values}\s*$")

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        self._table.feed(line)

    def found(self) -> list[float] | None:
        """Hartree/bohr, atom by atom."""
        rows = [numbers(row[3:]) for row in self._table.rows]
        return [value for row in rows if row for value in row] if rows and None not in rows else None


@dataclass(frozen=True, slots=True)
class Point:
    """One step of an optimisation: geometry (angstrom), energy, and gradient (hartree/bohr) where it was printed."""

    geometry: Geometry
    energy_hartree: float
    gradient: list[float] | None


class OptimisationSteps:
    """Reads the points of the optimisation `asked` (a `read.Reader`). An optimisation that is too large has none."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._energy, self._geometry, self._gradient = EnergyReader(asked), GeometryReader(""), Gradient()
        self._at: int | None = None
        self._numbers = 0
        self._points: list[Point] = []

    def feed(self, line: str, number: int) -> None:
        self._energy.feed(line, number)
        self._geometry.feed(line, number)
        self._gradient.feed(line)
        # NWChem repeats the line of the last step.
        if line.startswith("@") and self._energy.steps != self._at:
            self._at = self._energy.steps
            self._close()

    @property
    def points(self) -> list[Point]:
        """All points, from the first."""
        return self._points if self._numbers <= _MOST_NUMBERS else []

    def _close(self) -> None:
        energy, geometry = self._energy.found, self._geometry.last
        self._geometry, gradient = GeometryReader(""), self._gradient.found()
        self._gradient = Gradient()
        if energy is None or geometry is None:
            self._numbers = _MOST_NUMBERS + 1  # the output does not hold every point
            return
        self._numbers += 3 * len(geometry.atoms)
        if self._numbers <= _MOST_NUMBERS:
            self._points.append(Point(geometry, energy.hartree, gradient))
