"""XYZ files: one or more structures, in angstrom. Needs neither RDKit nor numpy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from qmrunner.chemistry import columns
from qmrunner.chemistry.elements import atom, canonical
from qmrunner.chemistry.molecule import Molecule, Point, check_no_overlap
from qmrunner.errors import UsageError, nearest

# A comment in another encoding may contain a character at which Python ends a line.
_LINE_END = re.compile(r"\r\n|\r|\n")
_COMMA_NUMBER = re.compile(r"^[-+]?\d*,\d+$|^[-+]?\d+,$")
# Fortran writes 1.0D+00.
_FORTRAN_EXPONENT = re.compile(r"(?<=[\d.])[dD](?=[-+]?\d)")
# Blanks that every reader knows; Python also splits at those of other scripts, such as the no-break space.
_BLANKS = re.compile(r"[ \t]+")
# Ghost and dummy atoms of other programs.
_NO_ATOM = re.compile(r"(bq|gh)[a-z]{0,2}[\d_:]*|(x|xx|q|du|lp|da)\d*", re.IGNORECASE)
_FORM = "a line with the number of atoms, a comment line, then one line `symbol x y z` per atom, in ångström"


def read_xyz(text: str, name: str = "input.xyz") -> tuple[Molecule, ...]:
    """All structures of an XYZ file, with coordinates in angstrom and without charge.

    Columns are those that the comment line of extended XYZ names, else symbol, x, y, z; further columns are ignored.
    Labels (`C1`, `O_acc`), atomic numbers, `D` and `T` are elements. `notes` list what was interpreted differently than
    it is written; `plain`: whether every reader of XYZ reads the same. Raises UsageError with the first wrong line:
    `empty_file`, `atom_count_mismatch`, `unknown_element`, `decimal_comma`, `not_finite`, `unreadable_structure`,
    `atoms_overlap`.
    """
    lines = _LINE_END.split(text)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UsageError(
            "empty_file",
            f"{name} is empty",
            evidence=f"{len(text)} bytes without any text",
            remedy=f"write the structure into it: {_FORM}",
        )
    found: list[Molecule] = []
    at = 0
    while at < len(lines):
        molecule, at = _frame(lines, at, name)
        found.append(molecule)
        while at < len(lines) and not lines[at].strip():
            at += 1
    return tuple(found)


def write_xyz(symbols: Sequence[str], coordinates: Sequence[Sequence[float]], comment: str = "") -> str:
    """One structure as XYZ text; coordinates in angstrom with eight decimals."""
    head = f"{len(symbols)}\n{' '.join(comment.split())}\n"
    rows = (
        f"{symbol:<2s} {float(x):16.8f} {float(y):16.8f} {float(z):16.8f}\n"
        for symbol, (x, y, z) in zip(symbols, coordinates, strict=True)
    )
    return head + "".join(rows)


def _frame(lines: Sequence[str], at: int, name: str) -> tuple[Molecule, int]:
    count = _count(lines[at], at, name)
    rows = lines[at + 2 : at + 2 + count]
    if len(rows) < count:
        raise _mismatch(name, f"the file ends after {len(rows)} of {count} atom lines", f"line {at + 1}: {lines[at]}")
    where = f"line {at + 2}"
    layout = columns.named(lines[at + 1], where, name)
    atoms: list[tuple[str, int | None]] = []
    points: list[Point] = []
    for offset, row in enumerate(rows):
        if not row.strip() or len(row.split()) == 1:
            raise _mismatch(
                name,
                f"line {at + 1} announces {count} atoms, but line {at + 3 + offset} is not an atom line",
                f"line {at + 3 + offset}: {row!r}",
            )
        found, point = _atom(row, at + 3 + offset, name, layout)
        atoms.append(found)
        points.append(point)
    after = at + 2 + count
    if after < len(lines) and len(lines[after].split()) >= 4 and canonical(lines[after].split()[0]):
        raise _mismatch(
            name,
            f"line {at + 1} announces {count} atoms, but more atom lines follow",
            f"line {after + 1}: {lines[after]}",
        )
    symbols = tuple(symbol for symbol, _ in atoms)
    check_no_overlap(symbols, points)
    isotopes = tuple((number, mass) for number, (_, mass) in enumerate(atoms, start=1) if mass is not None)
    written = [row.split()[layout.element] for row in rows]
    labels = [(word, symbol) for word, symbol in zip(written, symbols, strict=True) if canonical(word) is None]
    molecule = Molecule(
        symbols,
        coordinates=tuple(points),
        title=lines[at + 1].strip(),
        isotopes=isotopes,
        notes=tuple(_notes(layout, labels, name)),
        plain=layout.plain
        and all(word.isalpha() and canonical(word) for word in written)
        and all(_BLANKS.split(row.strip(" \t"))[:4] == row.split()[:4] for row in rows),
    )
    return molecule, after


def _notes(layout: columns.Columns, labels: Sequence[tuple[str, str]], name: str) -> Iterator[str]:
    if not layout.plain:
        yield f"{name}: {layout.sentence()}, as named in its comment line"
    pairs = list(dict.fromkeys(f"{word} as {symbol}" for word, symbol in labels))
    if pairs:
        yield f"{name}: atoms read by their labels: {', '.join(pairs[:8])}{' …' if len(pairs) > 8 else ''}"


def _count(line: str, at: int, name: str) -> int:
    # xTB also takes the first word and ignores the others.
    word = (line.split() or [""])[0]
    if not (word.isascii() and word.isdigit() and int(word[:9]) > 0):
        raise UsageError(
            "unreadable_structure",
            f"{name} is not an XYZ file: line {at + 1} should be the number of atoms",
            evidence=f"line {at + 1}: {line.strip()[:80]!r}",
            remedy=f"an XYZ structure is {_FORM}",
        )
    return int(word[:9])


def _mismatch(name: str, what: str, evidence: str) -> UsageError:
    return UsageError(
        "atom_count_mismatch",
        f"{name}: {what}",
        evidence=evidence,
        remedy="make the number in the first line equal to the number of atom lines",
    )


def _atom(row: str, number: int, name: str, layout: columns.Columns) -> tuple[tuple[str, int | None], Point]:
    words = row.split()
    where = f"line {number}: {row.strip()[:80]}"
    place = words[layout.position : layout.position + 3]
    if any(_COMMA_NUMBER.match(word) for word in place):
        raise UsageError(
            "decimal_comma",
            f"{name}: a decimal comma in line {number}",
            evidence=where,
            remedy="write coordinates with a decimal point: 0.757, not 0,757",
        )
    if len(words) < layout.width:
        promised = "a symbol and three coordinates"
        if layout != columns.PLAIN:
            promised = f"the {layout.width} columns that the comment line names"
        raise UsageError(
            "unreadable_structure",
            f"{name}: line {number} needs {promised}",
            evidence=where,
            remedy=f"an XYZ structure is {_FORM}",
        )
    return _known_atom(words[layout.element], where, name), _point(place, where, number, name)


def _known_atom(word: str, where: str, name: str) -> tuple[str, int | None]:
    found = atom(word)
    if found is not None:
        return found
    if _NO_ATOM.fullmatch(word):
        raise UsageError(
            "unknown_element",
            f"{name}: {word!r} is a ghost or dummy atom of another program, not a chemical element",
            evidence=where,
            remedy="remove its line, and correct the number of atoms in the first line",
        )
    stem = canonical(re.sub(r"[^A-Za-z].*$", "", word)) or canonical(word[:1])
    near = stem or nearest(word, ["H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "Si", "B"])
    raise UsageError(
        "unknown_element",
        f"{name}: {word!r} is not a chemical element",
        evidence=where,
        remedy=f"write the plain element symbol{f', here probably {near}' if near else ', such as C or Cl'}",
    )


def _point(words: Sequence[str], where: str, number: int, name: str) -> Point:
    try:
        x, y, z = (float(_FORTRAN_EXPONENT.sub("e", word)) for word in words)
    except ValueError:
        raise UsageError(
            "unreadable_structure",
            f"{name}: a coordinate in line {number} is not a number",
            evidence=where,
            remedy="write three numbers with decimal points after the symbol",
        ) from None
    if not all(map(math.isfinite, (x, y, z))):
        raise UsageError(
            "not_finite",
            f"{name}: a coordinate in line {number} is not a finite number",
            evidence=where,
            remedy="the program that wrote this file failed; write the structure again",
        )
    return x, y, z
