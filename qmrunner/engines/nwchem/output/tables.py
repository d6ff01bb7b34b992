"""Geometries as NWChem prints them, in whatever unit: atoms in angstrom, ghosts left out."""

from __future__ import annotations

import re

from qmrunner.engines.nwchem.input.generated_deck import Geometry
from qmrunner.engines.nwchem.output import rtdb
from qmrunner.model.jobs import Evidence

_TITLE = re.compile(r'^\s+Geometry "[^"]*" -> "([^"]*)"')
_SCALE = re.compile(r"\(scale by\s+(\d+\.\d+) to convert to a\.u\.\)")
# A tag may contain a form feed.
_ROW = re.compile(r"^\s+\d+\s+([A-Za-z][^ ]*) +(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s*$")


class GeometryReader:
    """The last geometry (angstrom) that a task loaded from the database, and the first one's number of centres with its
    last row as evidence.

    For the input and the monomers of a counterpoise correction NWChem prints an empty source name.
    """

    def __init__(self, log_name: str) -> None:
        self._log_name = log_name
        self._centres: list[rtdb.Centre] | None = None
        self._per_angstrom = rtdb.BOHR_PER_ANGSTROM
        self._loaded = False
        self.last: Geometry | None = None
        self.first_count: int | None = None
        self.first_row: Evidence | None = None

    def feed(self, line: str, number: int) -> None:
        """One line of the log and its number, from 1."""
        if "Geometry" in line and (match := _TITLE.match(line)):
            self._loaded = bool(match[1].strip())
        elif "Output coordinates in" in line:
            scale = _SCALE.search(line)
            self._centres = [] if scale else None
            self._per_angstrom = rtdb.BOHR_PER_ANGSTROM / float(scale[1]) if scale and float(scale[1]) else 1.0
        elif self._centres is not None:
            if match := _ROW.match(line):
                self._centres.append((match[1], float(match[2]), (float(match[3]), float(match[4]), float(match[5]))))
                if self.first_count is None:
                    self.first_row = Evidence(line.rstrip(), self._log_name, number)
            elif self._centres:
                self._close(self._centres)

    def _close(self, centres: list[rtdb.Centre]) -> None:
        self.first_count = self.first_count or len(centres)
        if self._loaded:
            self.last = rtdb.from_centres(centres, self._per_angstrom)
        self._centres = None
