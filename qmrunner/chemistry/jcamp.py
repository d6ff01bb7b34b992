"""JCAMP-DX 5.01 peak tables (Davies and Lampen, Appl. Spectrosc. 1993, 47, 1093): written and read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from qmrunner.chemistry.spectrum_signals import atom_label, signals

_RECORD = re.compile(r"^[^\S\n]*##([^=\n]{0,80})=", re.MULTILINE)
_COMMENT = re.compile(r"\$\$[^\n]*")
# Of bounded length, so that a long row of digits is not searched again from each of them.
_NUMBER = r"(?<![0-9.])[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?"
_PAIR = re.compile(rf"({_NUMBER})\s*,\s*({_NUMBER})")
_ASSIGNED = re.compile(rf"\(\s*({_NUMBER})\s*,")
_MOST_MHZ = 2000.0


def looks_like(text: str) -> bool:
    """Whether the text has labelled data records, as every JCAMP-DX file."""
    return _RECORD.search(text) is not None


def tables(text: str, problems: list[str]) -> list[tuple[str | None, list[float]]]:
    """Nucleus and shifts in ppm of each peak table; what is missing or unusable goes to `problems`."""
    found: list[tuple[str | None, list[float]]] = []
    nucleus: str | None = None
    unit, mhz = "PPM", 0.0
    for name, value in _records(text):
        if name == ".OBSERVENUCLEUS":
            nucleus = _nucleus(value)
            if nucleus is None:
                problems.append(f"the JCAMP file is of the nucleus {value.strip()[:20]!r}, not 1H or 13C")
                return found
        elif name == ".OBSERVEFREQUENCY":
            mhz = _number(value) or 0.0
        elif name == "XUNITS":
            unit = value.strip().upper()
        elif name in ("PEAKTABLE", "PEAKASSIGNMENTS"):
            pattern = _PAIR if name == "PEAKTABLE" else _ASSIGNED
            values = [float(hit[1]) for hit in pattern.finditer(value.partition(")")[2])]
            if unit == "HZ":
                if not 1.0 <= mhz <= _MOST_MHZ:
                    problems.append("the JCAMP file is in Hz and has no usable .OBSERVE FREQUENCY")
                    continue
                values = [round(hertz / mhz, 4) for hertz in values]
            if not any(values == known for _, known in found):  # tables and assignments repeat each other
                found.append((nucleus, values))
        elif name in ("XYDATA", "XYPOINTS", "DATATABLE"):
            problems.append("the JCAMP file has a spectrum, whose peaks are not picked: export a peak table")
    if not found and not problems:
        problems.append("the JCAMP file has no ##PEAK TABLE")
    return found


def _records(text: str) -> list[tuple[str, str]]:
    """Label and value of each record. Case, blanks, hyphens, slashes and underlines of labels do not count."""
    plain = _COMMENT.sub("", text)
    hits = list(_RECORD.finditer(plain))
    ends = [hit.start() for hit in hits[1:]] + [len(plain)]
    return [
        (re.sub(r"[\s\-/_]", "", hit[1]).upper(), plain[hit.end() : end]) for hit, end in zip(hits, ends, strict=True)
    ]


def _nucleus(value: str) -> str | None:
    plain = re.sub(r"[^0-9A-Za-z]", "", value).upper()
    return {"1H": "1H", "H1": "1H", "13C": "13C", "C13": "13C"}.get(plain)


def _number(value: str) -> float | None:
    hit = re.search(_NUMBER, value)
    return float(hit[0]) if hit else None


def peak_table(rows: Sequence[Mapping[str, Any]], nucleus: str, title: str, solvent: str, at: datetime) -> str:
    """The peaks of `rows` (shift rows of a result) of one nucleus as a JCAMP-DX 5.01 peak table.

    Heights are numbers of atoms, which a comment names; each signal is a single line, for couplings are not computed.
    """
    chosen = [row for row in rows if row["nucleus"] == nucleus]
    peaks = signals(chosen)
    symbol = str(chosen[0]["symbol"])
    shifts = [shift for shift, _ in peaks]
    heights = [len(atoms) for _, atoms in peaks]
    head = [
        f"##TITLE={_ascii(title)}",
        "##JCAMP-DX=5.01",
        "##DATA TYPE=NMR SPECTRUM",
        "##DATA CLASS=PEAK TABLE",
        "##ORIGIN=qmrunner (computed shifts)",
        "##OWNER=public domain",
        f"##LONGDATE={at:%Y/%m/%d %H:%M:%S}",
        f"##.OBSERVE NUCLEUS=^{nucleus}",
        f"##.SOLVENT NAME={_ascii(solvent)}",
        "##XUNITS=PPM",
        "##YUNITS=ARBITRARY UNITS",
        f"##FIRSTX={max(shifts):.4f}",
        f"##LASTX={min(shifts):.4f}",
        f"##MAXX={max(shifts):.4f}",
        f"##MINX={min(shifts):.4f}",
        f"##MAXY={max(heights)}",
        f"##MINY={min(heights)}",
        "##XFACTOR=1.0",
        "##YFACTOR=1.0",
        f"##NPOINTS={len(peaks)}",
        "##PEAK TABLE=(XY..XY)",
    ]
    lines = [
        f"{shift:.4f}, {len(atoms)} $$ {atom_label(atoms, symbol).replace(_EN_DASH, '-').replace('…', '...')}"
        for shift, atoms in peaks
    ]
    return "\n".join([*head, *lines, "##END=", ""])


def link(title: str, blocks: Sequence[str]) -> str:
    """Several blocks in one file: a compound file of JCAMP-DX, whose outer block only links the others."""
    head = [f"##TITLE={_ascii(title)}", "##JCAMP-DX=5.01", "##DATA TYPE=LINK", f"##BLOCKS={len(blocks)}"]
    return "\n".join([*head, ""]) + "".join(blocks) + "##END=\n"


_EN_DASH = "\N{EN DASH}"


def _ascii(text: str) -> str:
    """One line of printable ASCII without the marks that end a record or begin a comment."""
    plain = "".join(sign if " " <= sign <= "~" else "?" for sign in text)
    return plain.replace("##", "# #").replace("$$", "$ $")[:200]
