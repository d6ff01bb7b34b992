"""Numbers and tables as NWChem prints them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

# Lists of larger systems are in the output alone.
MOST_ATOMS = 1000
MOST_MODES = 3 * MOST_ATOMS
DEBYE_PER_AU = 2.541746473
EV_PER_HARTREE = 27.211386245988
# Maximum number of lines between a heading and its first row.
_LONGEST_HEAD = 12


def number(text: str) -> float | None:
    """A finite number, also with ``D`` for the exponent; None for `****`, `NaN` and other words."""
    try:
        value = float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers(words: Iterable[str]) -> list[float] | None:
    """All numbers, or None if a word is not a number."""
    values: list[float] = []
    for word in words:
        value = number(word)
        if value is None:
            return None
        values.append(value)
    return values


class Table:
    """The rows behind a heading, up to the first line that is not a row. A later table replaces an earlier one.

    `word` is in every line that matches the pattern `heading`.
    """

    def __init__(self, word: str, row: str, heading: str | None = None, most: int = MOST_ATOMS) -> None:
        self._word = word
        self._heading = re.compile(heading) if heading else None
        self._row = re.compile(row)
        self._most = most
        self._head: int | None = None
        self._rows: list[tuple[str, ...]] = []
        self._fits = True
        self._whole: list[tuple[str, ...]] = []

    def feed(self, line: str) -> None:
        """One line of output."""
        if self._word in line and (self._heading is None or self._heading.search(line)):
            self._head, self._rows, self._fits = 0, [], True
        elif self._head is not None:
            if match := self._row.match(line):
                self._fits = len(self._rows) < self._most
                if self._fits:
                    self._rows.append(match.groups())
            elif self._rows:
                self._whole, self._head = self._rows if self._fits else [], None
            else:
                self._head += 1
                if self._head > _LONGEST_HEAD:
                    self._head = None

    @property
    def rows(self) -> Sequence[tuple[str, ...]]:
        """The rows of the last complete table; empty for a table with too many rows."""
        return self._whole

    def column(self, at: int) -> list[float] | None:
        """The numbers of a column; None without rows, or if one of them is not a number."""
        return numbers(row[at] for row in self._whole) if self._whole else None
