"""Lines from shieldings to shifts, as data with their errors.

Production: facts published by steinbeck/qm-nmr-calc in its benchmark of DELTA50 (Molecules 2023, 28(6), 2449,
doi 10.3390/molecules28062449): B3LYP/6-311+G(2d,p) GIAO with COSMO on B3LYP/6-31G* geometries, NWChem 7.0.2,
against experiment in CDCl3 at 298 K, TMS = 0. Draft and quick: fitted with this program to a part of the same
experiment, by `benchmarks/delta50.py --fit`, which writes `fitted.json` (docs/explanation/science.md).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from qmrunner.errors import UsageError

NUCLEI = {"H": "1H", "C": "13C"}
SOURCE = "steinbeck/qm-nmr-calc, DELTA50 benchmark (Molecules 2023, 28(6), 2449, doi 10.3390/molecules28062449)"
OWN_SOURCE = "DELTA50 (Molecules 2023, 28(6), 2449, doi 10.3390/molecules28062449), computed with qmrunner"
PRODUCTION_METHOD = "B3LYP/6-311+G(2d,p) GIAO, COSMO, on B3LYP/6-31G* geometries"
OWN_METHODS = {
    "quick": "B3LYP/6-31G* GIAO, COSMO, on GFN2-xTB geometries, ALPB",
    "draft": "B3LYP/6-31G* GIAO, COSMO, on B3LYP/6-31G* geometries",
}

# solvent: (1H, 13C), each (slope, intercept ppm, MAE ppm, RMSD ppm, points)
_LINES: dict[str, tuple[tuple[float, float, float, float, int], tuple[float, float, float, float, int]]] = {
    "chloroform": ((-0.937532, 29.91757, 0.124, 0.163, 335), (-0.949719, 172.68931, 1.949, 2.691, 219)),
    "dmso": ((-0.932342, 29.73495, 0.126, 0.166, 335), (-0.942939, 171.77135, 2.152, 2.916, 219)),
    "methanol": ((-0.932632, 29.74499, 0.126, 0.166, 335), (-0.943277, 171.81703, 2.139, 2.901, 219)),
    "water": ((-0.932103, 29.72643, 0.127, 0.166, 335), (-0.942591, 171.72391, 2.161, 2.927, 219)),
    "acetone": ((-0.933164, 29.76365, 0.126, 0.165, 335), (-0.943962, 171.91015, 2.117, 2.875, 219)),
    "benzene": ((-0.943308, 30.12146, 0.128, 0.167, 335), (-0.957286, 173.70105, 1.761, 2.538, 219)),
    "pyridine": ((-0.933975, 29.79216, 0.125, 0.164, 335), (-0.945016, 172.05330, 2.085, 2.836, 219)),
    "thf": ((-0.935586, 29.84881, 0.124, 0.163, 335), (-0.947118, 172.33763, 2.023, 2.766, 219)),
    "toluene": ((-0.942851, 30.10536, 0.128, 0.166, 335), (-0.956690, 173.62181, 1.774, 2.546, 219)),
    "dcm": ((-0.934957, 29.82668, 0.124, 0.164, 335), (-0.946299, 172.22686, 2.048, 2.793, 219)),
    "acetonitrile": ((-0.932554, 29.74227, 0.126, 0.166, 335), (-0.943176, 171.80337, 2.143, 2.905, 219)),
    "dmf": ((-0.932522, 29.74112, 0.126, 0.166, 335), (-0.943132, 171.79739, 2.144, 2.906, 219)),
    "vacuum": ((-0.955380, 30.54455, 0.148, 0.193, 336), (-0.972639, 175.71087, 1.739, 2.565, 219)),
}


@dataclass(frozen=True, slots=True)
class Line:
    """shift = intercept_ppm + slope × shielding. Errors are over all `points`, kinds of atom together."""

    nucleus: str
    solvent: str
    level: str
    kind: str
    slope: float
    intercept_ppm: float
    mae_ppm: float
    rmsd_ppm: float
    points: int
    method: str
    source: str
    note: str | None = None

    def shift(self, shielding_ppm: float) -> float:
        """The shift in ppm for an isotropic shielding in ppm."""
        return self.intercept_ppm + self.slope * shielding_ppm

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def line_for(nucleus: str, solvent: str, level: str) -> Line:
    """The line for a nucleus (``1H``, ``13C``), a solvent's key and a level.

    Production uses the published regression for that solvent. The other levels use a line fitted in chloroform; for any
    other solvent a note states that. Raises UsageError `no_scaling` when there is none.
    """
    if solvent in _LINES and nucleus in NUCLEI.values():
        if level in OWN_METHODS:
            return _own(nucleus, solvent, level)
        if level == "production":
            return _production(nucleus, solvent)
    raise UsageError(
        "no_scaling",
        f"there is no scaling for {nucleus} in {solvent} at level {level}",
        remedy=f"choose {', '.join(OWN_METHODS)} or production, and a solvent among {', '.join(_LINES)}",
    )


@cache
def fitted() -> dict[str, Any]:
    """The output of `benchmarks/delta50.py --fit`: by level and nucleus the line in chloroform, if qmrunner fitted it,
    with errors in ppm with each molecule left out of the fit in turn, and the residuals by kind of atom
    (`accuracy`)."""
    text = resources.files(__package__).joinpath("fitted.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _own(nucleus: str, solvent: str, level: str) -> Line:
    row = fitted()[level][nucleus]
    count = row["molecules"]
    note = f"the RMSD is a leave-one-out estimate: each of the {count} molecules was left out of the fit in turn"
    if solvent != "chloroform":
        note += "; fitted in chloroform and used here for another solvent"
    source = f"linear regression over {row['points']} shifts of {row['molecules']} molecules of {OWN_SOURCE}"
    numbers = {key: row[key] for key in ("slope", "intercept_ppm", "mae_ppm", "rmsd_ppm", "points")}
    return Line(nucleus, solvent, level, "regression", **numbers, method=OWN_METHODS[level], source=source, note=note)


def _production(nucleus: str, solvent: str) -> Line:
    slope, intercept, mae, rmsd, points = _LINES[solvent][0 if nucleus == "1H" else 1]
    note = None if solvent == "chloroform" else "fitted to experimental shifts in CDCl3"
    source = f"linear regression over {points} shifts; {SOURCE}"
    numbers = (slope, intercept, mae, rmsd, points)
    return Line(nucleus, solvent, "production", "regression", *numbers, PRODUCTION_METHOD, source, note)
