"""Readers of structures in text formats: Turbomole, Gaussian input and PDB. Coordinates of the results in ångström."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qmrunner.chemistry import missing_hydrogens
from qmrunner.chemistry.elements import NUMBERS, atom, canonical
from qmrunner.errors import UsageError
from qmrunner.model.units import ANGSTROM_PER_BOHR

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One structure: `points` in ångström, `charge` and `multiplicity` None where the file has none. `from_bohr`: the
    file's unit was bohr."""

    symbols: tuple[str, ...]
    points: Sequence[Point]
    charge: int | None = None
    multiplicity: int | None = None
    title: str = ""
    isotopes: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    from_bohr: bool = False


def turbomole(text: str, name: str) -> list[Frame]:
    """The `$coord` group, in bohr or with `angs` in ångström; charge and unpaired electrons of `$eht`, or of xTB's
    `$chrg` and `$spin`."""
    symbols: list[str] = []
    points: list[Point] = []
    isotopes: dict[int, int] = {}
    group, scale, charge, unpaired = "", ANGSTROM_PER_BOHR, None, None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0].startswith("$"):
            group = words[0].lower()
            if group in ("$periodic", "$cell", "$lattice"):
                raise _unreadable(name, number, line, "the structure is periodic", "give a molecule")
            if group == "$coord" and "frac" in words[1:]:
                raise _unreadable(name, number, line, "fractions of a lattice", "give a molecule, in bohr")
            if group == "$coord" and any(word.startswith("ang") for word in words[1:]):
                scale = 1.0
            if group == "$eht":
                charge, unpaired = (_option(words, key, name, number, line) for key in ("charge", "unpaired"))
            elif (hit := _OF_XTB.match(line.strip())) is not None:
                value = _whole(hit[2], name, number, line)
                charge, unpaired = (value, unpaired) if hit[1].lower() == "chrg" else (charge, value)
        elif group == "$coord":
            if len(words) < 4:
                raise _unreadable(name, number, line, "needs x, y, z and an element", "x y z symbol, in bohr")
            symbols.append(_element(words[3], name, number, line, isotopes, len(symbols) + 1))
            points.append(_point(words[:3], scale, name, number, line))
    if not symbols:
        raise _unreadable(name, 1, text[:80], "has no group $coord with atoms", "export the structure again")
    spin = None if unpaired is None else unpaired + 1
    return [Frame(tuple(symbols), points, charge, spin, isotopes=isotopes, from_bohr=scale != 1.0)]


def _option(words: Sequence[str], key: str, name: str, number: int, line: str) -> int | None:
    hit = re.search(rf"\b{key}\s*=\s*([-+]?\d+)", " ".join(words))
    return _whole(hit[1], name, number, line) if hit else None


def _whole(word: str, name: str, number: int, line: str) -> int:
    """A charge or multiplicity. Raises UsageError for more digits than any has; of thousands Python reads none."""
    if len(word) > _MOST_DIGITS:
        raise _unreadable(name, number, line, "has a whole number of too many digits", "correct it")
    return int(word)


_MOST_DIGITS = 6
_OF_XTB = re.compile(r"\$(chrg|spin)\s{0,9}[= ]\s{0,9}([-+]?\d+)\b", re.IGNORECASE)
_ISOTOPE = re.compile(r"\biso\s*=\s*(\d{1,3}(?:\.\d{0,9})?)", re.IGNORECASE)
_GHOST = re.compile(r"[-_]bq", re.IGNORECASE)
_LONGEST_LABEL, _LONGEST_VALUE = 100, 200
# What follows `=` is bounded: a route of one word repeated would otherwise be searched from each of them to its end.
_UNITS = re.compile(rf"\bunits?\s{{0,9}}=?\s{{0,9}}\(?[^)\s]{{0,{_LONGEST_VALUE}}}\b(au|bohr)\b", re.IGNORECASE)
_CHECK = re.compile(rf"\bgeom\s{{0,9}}=?\s{{0,9}}\(?[^)\s]{{0,{_LONGEST_VALUE}}}\b(all)?check", re.IGNORECASE)


def gaussian(text: str, name: str) -> list[Frame]:
    """The Cartesian structure of a Gaussian input. Its unit is ångström unless the route has `units=au`."""
    lines = [re.sub(r"!.*", "", line).rstrip() for line in text.splitlines()]
    at = next((n for n, line in enumerate(lines) if line.lstrip().startswith("#")), None)
    if at is None:
        raise _unreadable(name, 1, text[:80], "has no route line (# …)", "export the input again")
    end = _blank(lines, at)
    route = " ".join(lines[at:end])
    if _CHECK.search(route):
        raise _unreadable(name, at + 1, lines[at], "takes its structure from a checkpoint", "write the atoms into it")
    scale = ANGSTROM_PER_BOHR if _UNITS.search(route) else 1.0
    # Open Babel writes an empty title.
    at = end + 3 if lines[end + 1 : end + 3] == ["", ""] else _blank(lines, end + 1) + 1
    if at >= len(lines) or not re.fullmatch(r"\s*[-+]?\d+[\s,]+\d+(?:[\s,]+[-+]?\d+)*\s*", lines[at]):
        shown = lines[at] if at < len(lines) else "the end of the file"
        raise _unreadable(name, at + 1, shown, "should be charge and multiplicity", "title, blank line, then `0 1`")
    pair = re.split(r"[\s,]+", lines[at].strip())[:2]
    charge, multiplicity = (_whole(word, name, at + 1, lines[at]) for word in pair)
    symbols: list[str] = []
    points: list[Point] = []
    isotopes: dict[int, int] = {}
    for number in range(at + 1, _blank(lines, at + 1)):
        words = _words(lines[number])
        if words[0].lower() == "tv":
            raise _unreadable(name, number + 1, lines[number], "is a translation of a crystal", "give a molecule")
        place = _cartesian(words)
        if place is None:
            remedy = "write Cartesian coordinates: in GaussView, save with `Cartesian`"
            raise _unreadable(name, number + 1, lines[number], "is not a Cartesian atom line (a Z-matrix?)", remedy)
        label = re.sub(r"\(.*|-.*", "", words[0])
        if len(words[0]) > _LONGEST_LABEL or _GHOST.search(words[0].partition("(")[0]):
            raise _unreadable(name, number + 1, lines[number], "is not a real atom (a ghost?)", "remove ghost atoms")
        symbols.append(_element(label, name, number + 1, lines[number], isotopes, len(symbols) + 1))
        points.append(_point(place, scale, name, number + 1, lines[number]))
        if hit := _ISOTOPE.search(words[0]):
            isotopes[len(symbols)] = round(float(hit[1]))  # an exact mass, too
    if not symbols:
        raise _unreadable(name, at + 1, lines[at], "is followed by no atom", "export the input again")
    notes = (f"{name}: only the first of its jobs is read",) if "--link1--" in text.lower() else ()
    title = " ".join(" ".join(lines[end + 1 : at - 1]).split())[:200]
    return [Frame(tuple(symbols), points, charge, multiplicity, title, isotopes, notes, from_bohr=scale != 1.0)]


def _blank(lines: Sequence[str], start: int) -> int:
    return next((n for n in range(start, len(lines)) if not lines[n].strip()), len(lines))


def _words(line: str) -> list[str]:
    """The words of an atom's line, the label with its parameters first: `C-CT(PDBName=CA,ResName=ALA)`."""
    label, opened, rest = line.strip().partition("(")
    if not opened or re.search(r"[\s,]", label.strip()):
        return re.split(r"[\s,]+", line.strip())
    inner, _, rest = rest.partition(")")
    return [f"{label.strip()}({inner})", *re.split(r"[\s,]+", rest.strip(" \t,"))]


def _cartesian(words: Sequence[str]) -> Sequence[str] | None:
    """The words of the position: after the label, or after the label and a freeze code (0 or negative).

    As in Gaussian, a whole number after the label would be that of an atom in a Z-matrix.
    """
    start = 2 if len(words) >= 5 and re.fullmatch(r"0|-\d{1,3}", words[1]) else 1
    return words[start : start + 3] if len(words) >= start + 3 and "." in words[start] else None


_ANY_CHARGE = re.compile(r"(\d)([-+])|([-+])(\d)")


def pdb(text: str, name: str) -> list[Frame]:
    """The atoms of each MODEL. Bonds are perceived later from the distances, as of an XYZ.

    Elements come from columns 77-78, else from the alignment of the atom's name: ` CA ` is a carbon, `CA  ` calcium.
    """
    frames = [_model(rows, name) for rows in _models(text.splitlines())]
    if not frames:
        raise _unreadable(name, 1, text[:80], "has no ATOM or HETATM record", "export the structure again")
    return frames


def _models(lines: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    rows: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("ENDMDL") and rows:
            yield rows
            rows = []
        elif line.startswith(("ATOM  ", "HETATM")):
            rows.append((number, line))
    if rows:
        yield rows


def _model(rows: Sequence[tuple[int, str]], name: str) -> Frame:
    symbols: list[str] = []
    points: list[Point] = []
    charges: list[int] = []
    isotopes: dict[int, int] = {}
    guessed = False
    for number, line in rows:
        _refuse_alternative(line, number, name)
        element = line[76:78].strip()
        guessed = guessed or not element
        if not element and _UNCLEAR_NAME.fullmatch(line[12:16]):
            remedy = "write the symbol of the element into columns 77-78"
            raise _unreadable(name, number, line, "has an atom whose name fits two elements", remedy)
        word = element or _of_name(line[12:16])
        symbols.append(_element(word, name, number, line, isotopes, len(symbols) + 1))
        points.append(_point([line[30:38], line[38:46], line[46:54]], 1.0, name, number, line))
        if hit := _ANY_CHARGE.fullmatch(line[78:80].strip()):
            charges.append(int(f"{hit[2] or hit[3]}{hit[1] or hit[4]}"))
    if lacking := missing_hydrogens.carbons(symbols, points):
        shown = ", ".join(map(str, lacking[:5])) + (", …" if len(lacking) > 5 else "")
        raise UsageError(
            "hydrogens_missing", f"{name}: hydrogens seem to be missing: the angles at some carbons leave room for one",
            evidence=f"{len(lacking)} of {symbols.count('C')} carbons: atoms {shown}",
            remedy="add the hydrogens in a molecule editor; if none is missing (a carbene, an ylide), write it as XYZ",
        )  # fmt: skip
    notes = (f"{name}: elements follow from the names of the atoms, as columns 77-78 are empty",) if guessed else ()
    return Frame(tuple(symbols), points, sum(charges) if charges else None, isotopes=isotopes, notes=notes)


def refuse_alternatives(text: str, name: str) -> None:
    """Raise UsageError `unreadable_structure` for a PDB file with alternative locations of an atom."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("ATOM  ", "HETATM")):
            _refuse_alternative(line, number, name)


def _refuse_alternative(line: str, number: int, name: str) -> None:
    if line[16:17].strip() not in ("", "A"):
        remedy = "keep one of the alternative locations in the file"
        raise _unreadable(name, number, line, "is an alternative location of an atom", remedy)


# ` CL1`: carbon L1 by its columns, and chlorine as many programs write it. A small letter makes it clear: ` Cl1`.
_UNCLEAR_NAME = re.compile(r" (CL|BR)\d? *")
_TWO_LETTERS = re.compile(r"[A-Z][a-z]")


def _of_name(field: str) -> str:
    """The element of an atom's name of four columns."""
    if (written := _TWO_LETTERS.search(field)) and canonical(written[0]):
        return written[0]
    padded = field.ljust(4)
    plain = re.sub(r"\d", " ", padded)
    first = canonical(plain[:2].strip()) if plain[0].isalpha() else None
    if first is not None and len(plain[:2].strip()) == 2 and not (padded[0] == "H" and len(padded.strip()) == 4):
        return first
    return plain.strip()[:1]


def _element(word: str, name: str, number: int, line: str, isotopes: dict[int, int], place: int) -> str:
    """The symbol; a mass number (D, T) is added to `isotopes` under the atom's number, `place`."""
    known = atom(word)
    if known is None or known[0] not in NUMBERS:
        raise UsageError(
            "unknown_element", f"{name}: {word!r} is not a chemical element",
            evidence=f"line {number}: {line.strip()[:80]}", remedy="write the symbol of a real atom",
        )  # fmt: skip
    if known[1] is not None:
        isotopes[place] = known[1]
    return known[0]


def _point(words: Sequence[str], scale: float, name: str, number: int, line: str) -> Point:
    if any("," in word for word in words):
        raise UsageError(
            "decimal_comma", f"{name}: a decimal comma in line {number}",
            evidence=f"line {number}: {line.strip()[:80]}",
            remedy="write coordinates with a decimal point: 0.757, not 0,757",
        )  # fmt: skip
    try:
        x, y, z = (float(re.sub(r"[dD]", "e", word)) * scale for word in words)
    except ValueError:
        raise _unreadable(name, number, line, "has a coordinate that is no number", "write three numbers") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise UsageError(
            "not_finite", f"{name}: a coordinate in line {number} is not a finite number",
            evidence=f"line {number}: {line.strip()[:80]}", remedy="write the structure again",
        )  # fmt: skip
    return x, y, z


def _unreadable(name: str, number: int, line: str, what: str, remedy: str) -> UsageError:
    return UsageError(
        "unreadable_structure", f"{name}: line {number} {what}", evidence=f"line {number}: {line.strip()[:80]}",
        remedy=remedy,
    )  # fmt: skip
