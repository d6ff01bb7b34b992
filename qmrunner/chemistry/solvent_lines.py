"""Lines of deuterated solvents and of tetramethylsilane, which a measured list often contains.

Shifts in ppm at 298 K: Fulmer et al., Organometallics 2010, 29, 2176 (doi 10.1021/om100106e); of pyridine-d5 and
dimethylformamide-d7 the chart of Cambridge Isotope Laboratories. The keys are those of `workflows.solvents`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A peak this close to a line is that line, ppm. The 13C lines of CDCl3 are 0.32 ppm apart, the outer ones of
# CD3CN, acetone, methanol and DMSO up to 0.6.
TOLERANCE_PPM = {"1H": 0.02, "13C": 0.4}
TMS = "tetramethylsilane"


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one solvent in ppm, by nucleus, and its name as a deuterated solvent."""

    name: str
    ppm: dict[str, tuple[float, ...]]


_LINES = {
    "chloroform": Lines("CDCl3", {"1H": (7.26,), "13C": (77.16,)}),
    "dmso": Lines("DMSO-d6", {"1H": (2.50,), "13C": (39.52,)}),
    "methanol": Lines("CD3OD", {"1H": (3.31,), "13C": (49.00,)}),
    "water": Lines("D2O", {"1H": (4.79,), "13C": ()}),
    "acetone": Lines("acetone-d6", {"1H": (2.05,), "13C": (29.84, 206.26)}),
    "benzene": Lines("C6D6", {"1H": (7.16,), "13C": (128.06,)}),
    "pyridine": Lines("pyridine-d5", {"1H": (8.74, 7.58, 7.22), "13C": (150.35, 135.91, 123.87)}),
    "thf": Lines("THF-d8", {"1H": (1.72, 3.58), "13C": (67.21, 25.31)}),
    "toluene": Lines("toluene-d8", {"1H": (2.08, 6.97, 7.01, 7.09), "13C": (137.48, 128.87, 127.96, 125.13, 20.43)}),
    "dcm": Lines("CD2Cl2", {"1H": (5.32,), "13C": (53.84,)}),
    "acetonitrile": Lines("CD3CN", {"1H": (1.94,), "13C": (1.32, 118.26)}),
    "dmf": Lines("DMF-d7", {"1H": (8.03, 2.92, 2.75), "13C": (163.15, 34.89, 29.76)}),
}
_NAMES = {
    "chloroform": ("cdcl3", "chloroform-d", "chloroform-d1", "chloroform"),
    "dmso": ("dmso-d6", "d6-dmso", "(cd3)2so", "dmso"),
    "methanol": ("cd3od", "methanol-d4", "meod", "meoh-d4"),
    "water": ("d2o",),
    "acetone": ("acetone-d6", "d6-acetone", "(cd3)2co"),
    "benzene": ("c6d6", "benzene-d6", "d6-benzene"),
    "pyridine": ("pyridine-d5", "c5d5n", "d5-pyridine"),
    "thf": ("thf-d8", "d8-thf"),
    "toluene": ("toluene-d8", "d8-toluene", "c7d8"),
    "dcm": ("cd2cl2", "dcm-d2", "dichloromethane-d2"),
    "acetonitrile": ("cd3cn", "acetonitrile-d3", "d3-acetonitrile", "mecn-d3"),
    "dmf": ("dmf-d7", "d7-dmf"),
}
_BY_NAME = {name: key for key, names in _NAMES.items() for name in names}


def solvent_named(words: str) -> str | None:
    """The key of the first solvent that a text such as ``101 MHz, CDCl3`` names; None without one."""
    plain = words.lower().translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789"))
    for word in re.split(r"[,;/\s]+", plain):
        if word in _BY_NAME:
            return _BY_NAME[word]
    return None


def label(solvent: str) -> str | None:
    """The name of the deuterated solvent, such as ``CDCl3``; None where there is none."""
    found = _LINES.get(solvent)
    return found.name if found else None


def line_at(ppm: float, nucleus: str, solvent: str | None) -> str | None:
    """The name of the solvent, or tetramethylsilane, whose line is at `ppm`; None where there is no line."""
    near = TOLERANCE_PPM[nucleus]
    lines = _LINES.get(solvent or "")
    if lines is not None and any(abs(ppm - line) <= near + 1e-9 for line in lines.ppm[nucleus]):
        return lines.name
    return TMS if abs(ppm) <= near + 1e-9 else None
