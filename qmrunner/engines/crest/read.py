"""Reading what CREST wrote. Checked against CREST 3.0.2 (native, --legacy) and 2.12."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qmrunner import untrusted

ENSEMBLE_BYTES = 128 << 20  # 10,000 structures of 200 atoms
_END = "CREST terminated normally."
_MOST_WARNINGS = 100
_UNIQUE = re.compile(r"number of unique conformers for further calc +(\d+)")
_EARLY = re.compile(r"MTD +\d+ .*terminated EARLY")
_MOST_DIGITS = 10
_NUMBER = re.compile(r"-?(?<!\d)\d++\.\d+(?:[eE][-+]?\d+)?")


@dataclass(slots=True)
class Summary:
    """Values from a log. `conformers` is their number as printed at the end; None if it is not printed."""

    terminated_normally: bool = False
    conformers: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conformer:
    """One structure of an ensemble: atom symbols in input order, energy in Hartree."""

    symbols: tuple[str, ...]
    energy_hartree: float


class BrokenEnsembleError(ValueError):
    """An incomplete ensemble file."""


def read_log(log: Path) -> Summary:
    """The summary of a CREST log (stdout and stderr together); an empty summary when there is no such file."""
    summary = Summary()
    with suppress(FileNotFoundError):
        for line in untrusted.lines(log):
            if _END in line:
                summary.terminated_normally = True
            elif hit := _UNIQUE.search(line):
                summary.conformers = int(hit[1])
            elif len(summary.warnings) < _MOST_WARNINGS and _EARLY.search(line):
                summary.warnings += (line.strip(),)
    return summary


def read_ensemble(path: Path) -> tuple[Conformer, ...]:
    """All structures of a CREST ensemble (concatenated XYZ, the comment is the energy in Hartree), in file order.

    Raises BrokenEnsembleError, with the reason, if the file is missing, empty or cut, or when an energy
    is not a finite number.
    """
    try:
        lines = untrusted.read_text(path, ENSEMBLE_BYTES).splitlines()
    except FileNotFoundError:
        raise BrokenEnsembleError(f"{path.name} was not written") from None
    except untrusted.Refused as problem:
        raise BrokenEnsembleError(f"{path.name} {problem.strerror}") from None
    found: list[Conformer] = []
    at = 0
    while at < len(lines) and lines[at].strip():
        conformer = _conformer(lines, at, f"{path.name}: structure {len(found) + 1}")
        found.append(conformer)
        at += 2 + len(conformer.symbols)
    if not found:
        raise BrokenEnsembleError(f"{path.name} holds no structure")
    if any(len(conformer.symbols) != len(found[0].symbols) for conformer in found):
        raise BrokenEnsembleError(f"{path.name} holds structures of different sizes")
    return tuple(found)


def _conformer(lines: list[str], at: int, where: str) -> Conformer:
    word = lines[at].strip()
    if not (word.isascii() and word.isdigit() and len(word) < _MOST_DIGITS):
        raise BrokenEnsembleError(f"{where} does not start with a number of atoms but with {word[:40]!r}")
    rows = [line.split() for line in lines[at + 2 : at + 2 + int(word)]]
    if len(rows) < int(word) or any(len(row) < 4 or not _NUMBER.fullmatch(row[3]) for row in rows):
        raise BrokenEnsembleError(f"{where} is cut off: it announces {word} atoms")
    hit = _NUMBER.search(lines[at + 1])
    energy = float(hit[0]) if hit else math.nan
    if not math.isfinite(energy):
        raise BrokenEnsembleError(f"{where} has no energy in its comment line: {lines[at + 1].strip()[:40]!r}")
    return Conformer(tuple(row[0] for row in rows), energy)
