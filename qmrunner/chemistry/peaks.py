"""Reads measured peaks from text: a plain list, the list of a paper (ACS style), or a JCAMP-DX peak table.

Any text gives an answer: what could not be read is in `problems`, in words. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from qmrunner.chemistry import jcamp, solvent_lines

MOST_CHARACTERS = 16_384
MOST_PEAKS = 500
# Shifts outside are slips of the pen, ppm.
PLAUSIBLE = {"1H": (-30.0, 40.0), "13C": (-300.0, 400.0)}
# A plain list with a shift above this is one of carbon, ppm.
_PROTONS_END = 16.0
_MOST_PROBLEMS = 10
_SHOWN = 60

_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−﹣-", "-") | {"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\r": "\n"})
_HEADING = re.compile(
    r"(?<![0-9A-Za-z(])(?:(?P<c>(?:13|¹³)\s?C)|(?P<h>[1¹]\s?H))(?:\s*\{[^{}]{0,12}\})?"
    r"(?:[-\s]{0,3}NMR\b\.?|\s*[:=])",
    re.IGNORECASE,
)
_NUMBER = r"[-+]?[0-9]{1,4}(?:\.[0-9]{0,6})?"
_ITEM = re.compile(rf"(?P<first>{_NUMBER})(?:\s?-\s?(?P<last>[0-9]{{1,4}}(?:\.[0-9]{{0,6}})?))?(?![0-9A-Za-z]|\.[0-9])")
_DECIMAL_COMMA = re.compile(r"(?<![0-9])([0-9]{1,3}),([0-9]{1,4})(?![0-9])")
_MHZ = re.compile(r"[0-9.]\s{0,8}MHz", re.IGNORECASE)
_DETAILS = re.compile(r"\s*+(?:ppm\s*+)?(?=[(\[])", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_.+-]+|.", re.DOTALL)
_COUNT = re.compile(r"(?<![0-9A-Za-z.])([0-9]{1,3})\s?(?:[×x*]\s?)?(?:[HC](?![0-9a-z])|CH[0-3]?(?![0-9A-Za-z]))")
_TIMES = re.compile(r"(?<![0-9A-Za-z.])[×x]\s?([0-9]{1,2})(?![0-9.])")
_ATOM = re.compile(r"#([0-9]{1,4})(?![0-9])|(?<![0-9A-Za-z-])([CH])([0-9]{1,4})(?![0-9A-Za-z.'′])")


@dataclass(frozen=True, slots=True)
class Peak:
    """One measured signal at `ppm`. `count` is the number of atoms the text gives it, `atoms` the numbers from 1 of
    those it is assigned to, `wide` is set where the text gives a range, `text` is what was read."""

    ppm: float
    count: int | None = None
    atoms: tuple[int, ...] = ()
    text: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class PeakList:
    """The peaks of one nucleus, from high shift to low; `solvent` is a key of `workflows.solvents`, None if the text
    names none. `aside` are lines of the solvent or of tetramethylsilane, with the name."""

    nucleus: str
    solvent: str | None
    peaks: tuple[Peak, ...]
    aside: tuple[tuple[Peak, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """What a text contains: at most one list of each nucleus, and what could not be read."""

    lists: tuple[PeakList, ...]
    problems: tuple[str, ...]

    def of(self, nucleus: str) -> PeakList | None:
        return next((found for found in self.lists if found.nucleus == nucleus), None)


# Nucleus and solvent, None where the text names none, and peaks.
_Segment = tuple[str | None, str | None, list[Peak]]


def read(text: str, *, nucleus: str | None = None, solvent: str | None = None) -> Read:
    """The peaks in `text`. `nucleus` is that of a list without a heading (default: by the highest shift), `solvent` the
    key of the one to look for where the text names none.

    ``(#7)`` assigns a peak to atom 7, ``(C1)`` only in lists without a heading: papers number atoms in their own way.
    Lines of the solvent and of tetramethylsilane are set aside unless they have a count, an atom or a range.
    """
    problems: list[str] = []
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS]
        problems.append(f"only the first {MOST_CHARACTERS} characters were read")
    text = text.translate(_DASHES)
    parts = jcamp.tables(text, problems) if jcamp.looks_like(text) else None
    if parts is not None:
        found: list[_Segment] = [(nuc, None, [Peak(ppm, text=f"{ppm:g}") for ppm in values]) for nuc, values in parts]
    else:
        found = list(_segments(text, problems))
    lists: dict[str, PeakList] = {}
    for named, medium, peaks in found:
        which = named or nucleus or _guess(peaks)
        kept = _plausible(peaks, which, problems)
        before = lists.get(which)
        together = [*(before.peaks if before else ()), *kept]
        lists[which] = PeakList(which, medium or (before.solvent if before else None), tuple(together))
    return Read(
        tuple(_settled(each, each.solvent or solvent, problems) for each in lists.values() if each.peaks),
        tuple(_few(problems)),
    )


def _few(problems: list[str]) -> list[str]:
    more = len(problems) - _MOST_PROBLEMS
    return [*problems[:_MOST_PROBLEMS], f"and {more} more"] if more > 0 else problems


def _guess(peaks: list[Peak]) -> str:
    return "13C" if any(peak.ppm > _PROTONS_END for peak in peaks) else "1H"


def _plausible(peaks: list[Peak], nucleus: str, problems: list[str]) -> list[Peak]:
    low, high = PLAUSIBLE[nucleus]
    odd = [peak.text for peak in peaks if not low <= peak.ppm <= high]
    if odd:
        problems.append(f"no {nucleus} shift lies at {', '.join(odd[:5])} ppm")
    return [peak for peak in peaks if low <= peak.ppm <= high]


def _settled(found: PeakList, solvent: str | None, problems: list[str]) -> PeakList:
    """The list in order, with solvent lines set aside."""
    if len(found.peaks) > MOST_PEAKS:
        problems.append(f"only the first {MOST_PEAKS} {found.nucleus} peaks were read")
    peaks: list[Peak] = []
    aside: list[tuple[Peak, str]] = []
    for peak in sorted(found.peaks[:MOST_PEAKS], key=lambda peak: -peak.ppm):
        own = peak.count or peak.atoms or peak.wide
        name = None if own else solvent_lines.line_at(peak.ppm, found.nucleus, solvent)
        if name is None:
            peaks.append(peak)
        else:
            aside.append((peak, name))
    return replace(found, peaks=tuple(peaks), aside=tuple(aside))


def _segments(text: str, problems: list[str]) -> Iterator[_Segment]:
    """Nucleus, solvent and peaks of each part of the text: what stands before the first heading, and after each."""
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)] if headings else []
    before = text[: headings[0].start()] if headings else text
    if _ITEM.search(before) or not headings:
        yield None, None, list(_peaks(before, problems, atoms=True))
    for heading, end in zip(headings, ends, strict=True):
        nucleus = "13C" if heading["c"] else "1H"
        inside = text[heading.end() : end]
        conditions, rest = _conditions(inside)
        paper = bool(re.search("NMR", heading[0], re.IGNORECASE))
        yield nucleus, solvent_lines.solvent_named(conditions), list(_peaks(rest, problems, atoms=not paper))


def _conditions(text: str) -> tuple[str, str]:
    """The content of ``(101 MHz, CDCl3) δ``, and the text after it."""
    start = len(text) - len(text.lstrip())
    conditions = ""
    if text[start : start + 1] in ("(", "["):
        end = _closing(text, start)
        inside = text[start + 1 : end]
        if _MHZ.search(inside) or solvent_lines.solvent_named(inside):
            conditions, start = inside, end + 1
    for sign in ("δ", "delta", "=", ":"):
        stripped = text[start:].lstrip(" \t\n,;:=")
        start = len(text) - len(stripped)
        if stripped.lower().startswith(sign):
            start += len(sign)
    return conditions, text[start:]


def _closing(text: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`; the end of the text without one."""
    depth = 0
    for place in range(start, len(text)):
        if text[place] in "([":
            depth += 1
        elif text[place] in ")]":
            depth -= 1
            if depth == 0:
                return place
    return len(text)


def _peaks(text: str, problems: list[str], *, atoms: bool) -> Iterator[Peak]:
    """The peaks of a list. Words between them are skipped and named in `problems`."""
    text = _with_points(text)
    at, named = 0, False
    strange: list[str] = []
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            step = _WORD.match(text, at)
            assert step is not None
            if text[at] in "([":
                at = _closing(text, at) + 1
                continue
            if any(sign.isalnum() for sign in step[0]) and step[0].lower().strip(".") not in _FILLERS:
                strange.append(step[0])
            at = step.end()
            continue
        at = item.end()
        details = ""
        after = _DETAILS.match(text, at)
        if after is not None:
            end = _closing(text, after.end())
            details, at = text[after.end() + 1 : end], end + 1
        first, last = float(item["first"]), float(item["last"] or item["first"])
        fixed, other = _atoms(details, atoms)
        named = named or other
        shown = " ".join(f"{item[0]} ({details})".split()) if details else item[0]
        yield Peak(round((first + last) / 2, 5), _count(details), fixed, shown[:_SHOWN], first != last)
    if strange:
        words = ", ".join(repr(word[:20]) for word in strange[:5])
        problems.append(f"not read: {words}{' …' if len(strange) > 5 else ''}")
    if named:
        problems.append("labels such as C1 are not used: papers number atoms in their own way; write (#1) for atom 1")


_FILLERS = frozenset({"and", "ppm", "δ", "delta", "in", "d", "nmr", "mhz", "s", "to"})


def _with_points(text: str) -> str:
    """The text with decimal points, where commas can only be decimal ones: no number has a point, and each has one
    comma."""
    outside = re.sub(r"\([^()]*\)", "", text)
    numbers = re.findall(r"[0-9][0-9.,]*[0-9]|[0-9]", outside)
    if numbers and all(_DECIMAL_COMMA.fullmatch(number) for number in numbers):
        parts = re.split(r"(\([^()]*\))", text)
        return "".join(part if part.startswith("(") else _DECIMAL_COMMA.sub(r"\1.\2", part) for part in parts)
    return text


def _count(details: str) -> int | None:
    hit = _COUNT.search(details) or _TIMES.search(details)
    return int(hit[1]) or None if hit else None


def _atoms(details: str, plain: bool) -> tuple[tuple[int, ...], bool]:
    """The atom numbers in the details, and whether it has labels that are not used."""
    found: list[int] = []
    other = False
    for hit in _ATOM.finditer(details):
        if hit[1] or plain:
            number = int(hit[1] or hit[3])
            if number:
                found.append(number)
        else:
            other = True
    return tuple(dict.fromkeys(found)), other
