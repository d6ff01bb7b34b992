"""Reads the output of xTB. Checked against xTB 6.5.1 and 6.7.1."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from qmrunner import untrusted
from qmrunner.errors import UsageError

_MOST_WARNINGS = 100
_NUMBER = re.compile(r"-?(?<!\d)\d++\.\d+(?:[eEdD][-+]?\d+)?|NaN|\*{3,}", re.IGNORECASE)
_CONVERGED = re.compile(r"GEOMETRY OPTIMIZATION CONVERGED AFTER +(\d+)")
_FAILED = re.compile(r"FAILED TO CONVERGE GEOMETRY OPTIMIZATION IN +(\d+)")
_ELECTRONS = re.compile(r":  # electrons +(-?\d+)")
_WRITTEN = re.compile(r"optimized geometry written to: +(\S+)")
_ENERGY = re.compile(r"energy: +(-?[\d.]+)")
_WARNING = re.compile(r"^-\d+- (.*)")


@dataclass(slots=True)
class Summary:
    """Values from a log. Energies in Hartree, `gradient_norm` in Hartree/bohr, `gap_ev` (HOMO to LUMO) in eV.

    A number is None if the log does not have it, and not finite when xTB printed NaN or an overflow. `converged` is
    None when no optimisation ended; `cycles` are those of the last one. `geometry` is the file that holds its result.
    """

    energy_hartree: float | None = None
    free_energy_hartree: float | None = None
    gradient_norm: float | None = None
    gap_ev: float | None = None
    cycles: int | None = None
    converged: bool | None = None
    electrons: int | None = None
    geometry: str | None = None
    warnings: tuple[str, ...] = ()
    finished: bool = False
    terminated_normally: bool = False


class Frame(NamedTuple):
    """One point of an optimisation: energy in hartree, coordinates in angstrom, flat."""

    energy_hartree: float
    symbols: list[str]
    coordinates: list[float]


def read_log(log: Path) -> Summary:
    """The summary of an xTB log (stdout and stderr together); an empty summary when there is no such file."""
    summary = Summary()
    with suppress(FileNotFoundError):
        for line in untrusted.lines(log):
            _take(summary, line)
    return summary


def _take(summary: Summary, line: str) -> None:
    if "| TOTAL ENERGY" in line:
        summary.energy_hartree = _number(line)
    elif "| TOTAL FREE ENERGY" in line:
        summary.free_energy_hartree = _number(line)
    elif "| GRADIENT NORM" in line:
        summary.gradient_norm = _number(line)
    elif "| HOMO-LUMO GAP" in line:
        summary.gap_ev = _number(line)
    elif "GEOMETRY OPTIMIZATION" in line:
        _take_optimisation(summary, line)
    elif hit := _ELECTRONS.search(line):
        summary.electrons = int(hit[1])
    elif hit := _WRITTEN.search(line):
        summary.geometry = PurePath(hit[1]).name  # only the name, without any folder in the log
    elif hit := _WARNING.match(line):
        if len(summary.warnings) < _MOST_WARNINGS:
            summary.warnings += (hit[1].strip(),)
    elif "* finished run on" in line:
        summary.finished = True
    elif "normal termination of xtb" in line and "abnormal" not in line:
        summary.terminated_normally = True


def _take_optimisation(summary: Summary, line: str) -> None:
    if hit := _CONVERGED.search(line):
        summary.converged, summary.cycles = True, int(hit[1])
    elif hit := _FAILED.search(line):
        summary.converged, summary.cycles = False, int(hit[1])


def _number(line: str) -> float | None:
    hit = _NUMBER.search(line)
    if hit is None:
        return None
    try:
        return float(hit[0].lower().replace("d", "e"))
    except ValueError:
        return math.nan


def lowest_wavenumber(path: Path) -> float | None:
    """The lowest wavenumber (cm⁻¹, negative for an imaginary one) of a `vibspectrum` file; None if it has none."""
    found = []
    for line in untrusted.lines(path):
        words = line.split()
        # Translations and rotations have no symmetry label, and are no vibrations.
        if len(words) > 2 and words[0].isdigit() and words[1].isalpha():
            found.append(_number(line))
    known = [value for value in found if value is not None and math.isfinite(value)]
    return min(known, default=None)


def frames(trajectory: Path, most: int) -> list[Frame]:
    """All points of an optimisation's `trajectory` (``xtbopt.log``), from its start. Empty for a file that is missing,
    incomplete, or has more than `most` coordinates."""
    found: list[Frame] = []
    try:
        lines = untrusted.read_text(trajectory).splitlines()
        count = int(lines[0])
        if count < 1 or len(lines) % (count + 2) or 3 * count * (len(lines) // (count + 2)) > most:
            return []
        for at in range(0, len(lines), count + 2):
            hit = _ENERGY.search(lines[at + 1])
            energy = None if hit is None else _number(hit[1])
            if energy is None or lines[at].split() != [str(count)]:
                return []
            rows = [line.split() for line in lines[at + 2 : at + 2 + count]]
            coordinates = [float(word) for row in rows for word in row[1:]]
            if len(coordinates) != 3 * count:
                return []
            found.append(Frame(energy, [row[0].capitalize() for row in rows], coordinates))
    except (OSError, ValueError, IndexError):
        return []
    return found


def last_frame(trajectory: Path, target: Path, cycles: int) -> float | None:
    """Write the last structure of an optimisation's `trajectory` (``xtbopt.log``) to `target`, unless that is there.

    Its energy in hartree, from the comment; Returns None and writes nothing when the trajectory is not complete for as
    many `cycles`.
    """
    try:
        lines = untrusted.read_text(trajectory).splitlines(keepends=True)
        count = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    last = lines[-(count + 2) :]
    hit = _ENERGY.search(last[1]) if len(last) == count + 2 and count > 0 else None
    if hit is None or len(lines) != cycles * (count + 2) or last[0].split() != [str(count)]:
        return None
    if not untrusted.is_there(target):
        untrusted.write_text(target, "".join(last))
    return _number(hit[1])


def incomplete(path: Path) -> str | None:
    """Why the result file `path` cannot be complete; None if no problem was found.

    A full disk leaves files of zero bytes, or cut at a block, with exit status 0.
    """
    try:
        size = untrusted.size(path)
    except FileNotFoundError:
        return f"{path.name} was not written"
    if size == 0:
        return f"{path.name} has zero bytes"
    if size > untrusted.TEXT_BYTES:
        return None if path.suffix not in (".xyz", ".json") else f"{path.name} has {size:,} bytes, which no result has"
    if path.suffix == ".xyz":
        return _incomplete_xyz(path)
    if path.suffix == ".json":
        return _incomplete_json(path)
    if path.name.endswith("hessian"):
        return _incomplete_hessian(path)
    if path.name.endswith("vibspectrum"):
        whole = untrusted.read_text(path).rstrip().endswith("$end")
        return None if whole else f"{path.name} ends without $end"
    return None


def _incomplete_xyz(path: Path) -> str | None:
    from qmrunner.chemistry.xyz import read_xyz

    try:
        read_xyz(untrusted.read_text(path), path.name)
    except UsageError as error:
        return error.message
    return None


def _incomplete_json(path: Path) -> str | None:
    try:
        untrusted.read_json(path, untrusted.TEXT_BYTES)
    except ValueError as error:
        # xTB writes NaN and Fortran overflows, which are not JSON either.
        return f"{path.name} is not whole JSON: {error}"
    return None


def _incomplete_hessian(path: Path) -> str | None:
    """A Hessian of N atoms holds a header and (3 N)² numbers."""
    count = sum(_numbers(untrusted.lines(path)))
    side = math.isqrt(count)
    if side * side == count and side % 3 == 0:
        return None
    return f"{path.name} holds {count} numbers, which no Hessian has"


def _numbers(lines: Iterator[str]) -> Iterator[int]:
    return (len(line.split()) for line in lines if not line.lstrip().startswith("$"))
