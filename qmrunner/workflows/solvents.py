"""Solvents: the names that users may give, and the names in each program.

NWChem 7.0.2 knows every COSMO word here (each was run; the dielectric constants are those it printed). ALPB words are
those of xTB 6.5.1, each run as well; it has no parameters for pyridine. ALPB only shapes the pre-optimised start
structure, so a similar solvent there does not change the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qmrunner.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class Solvent:
    """One solvent. `cosmo` and `alpb` are None for the gas phase; `note` names a substitute solvent, if a program needs
    one."""

    key: str
    label: str
    cosmo: str | None
    dielectric: float
    alpb: str | None
    aliases: tuple[str, ...]
    note: str | None = None


_PYRIDINE_NOTE = (
    "xTB has no ALPB parameters for pyridine: its optimisations use CH2Cl2, the nearest dielectric constant it has"
)

SOLVENTS: tuple[Solvent, ...] = (
    Solvent("chloroform", "chloroform", "chcl3", 4.71, "chcl3", ("chcl3", "cdcl3", "trichloromethane")),
    Solvent("dmso", "dimethyl sulfoxide", "dmso", 46.83, "dmso", ("dimethylsulfoxide", "dmsod6", "d6dmso", "c2h6os")),
    Solvent("methanol", "methanol", "methanol", 32.61, "methanol", ("meoh", "ch3oh", "cd3od", "methanold4", "meod")),
    Solvent("water", "water", "h2o", 78.40, "h2o", ("h2o", "d2o", "hdo")),
    Solvent("acetone", "acetone", "acetone", 20.49, "acetone", ("acetoned6", "propanone", "me2co")),
    Solvent("benzene", "benzene", "benzene", 2.27, "benzene", ("c6h6", "c6d6", "benzened6")),
    Solvent(
        "pyridine", "pyridine", "pyridine", 12.98, "ch2cl2", ("py", "c5h5n", "c5d5n", "pyridined5"), _PYRIDINE_NOTE
    ),
    Solvent("thf", "tetrahydrofuran", "thf", 7.43, "thf", ("tetrahydrofuran", "thfd8", "c4h8o")),
    Solvent("toluene", "toluene", "toluene", 2.37, "toluene", ("toluened8", "phme", "methylbenzene")),
    Solvent(
        "dcm", "dichloromethane", "dcm", 8.93, "ch2cl2", ("dichloromethane", "ch2cl2", "cd2cl2", "methylenechloride")
    ),
    Solvent(
        "acetonitrile", "acetonitrile", "acetntrl", 35.69, "acetonitrile", ("mecn", "ch3cn", "cd3cn", "acetonitriled3")
    ),
    Solvent("dmf", "N,N-dimethylformamide", "dmf", 37.22, "dmf", ("dimethylformamide", "nndimethylformamide", "dmfd7")),
    Solvent("vacuum", "gas phase", None, 1.0, None, ("gas", "gasphase", "none", "vac")),
)
KEYS: tuple[str, ...] = tuple(solvent.key for solvent in SOLVENTS)
_BY_NAME = {
    name: solvent
    for solvent in SOLVENTS
    for name in (solvent.key, *solvent.aliases, re.sub(r"[^a-z0-9]", "", solvent.label.lower()))
}


def find_solvent(name: str) -> Solvent:
    """The solvent called `name`; case, hyphens and spaces do not matter.

    Raises UsageError `unknown_solvent` with the nearest match and the whole list.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    found = _BY_NAME.get(plain)
    if found is not None:
        return found
    near = nearest(plain, tuple(_BY_NAME)) if plain else None
    hint = f"did you mean {_BY_NAME[near].key}? " if near else ""
    raise UsageError(
        "unknown_solvent",
        f"unknown solvent {name!r}",
        evidence=name,
        remedy=f"{hint}known are {', '.join(KEYS)}",
    )


def by_key(key: str) -> Solvent:
    """The solvent with this canonical key, as stored in params."""
    return _BY_NAME[key]
