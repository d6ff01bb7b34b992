"""Writes `qcschema.json`: a run of one geometry as an AtomicResult of QCSchema (version 1), for programs that read this
format.

Does not need QCElemental, whose validation the tests use. Units are atomic: hartree, bohr, hartree/bohr.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qmrunner import __version__
from qmrunner.chemistry.elements import NUMBERS
from qmrunner.model.units import ANGSTROM_PER_BOHR

FILE = "qcschema.json"
BOHR_PER_ANGSTROM = 1 / ANGSTROM_PER_BOHR
DRIVERS = ("energy", "gradient", "hessian", "properties")


@dataclass(frozen=True, slots=True)
class Run:
    """A computed structure. `coordinates_bohr`, `gradient` and `hessian` are flat; `driver` is one of DRIVERS.

    `energies` are totals by name of the level (``HF``, ``MP2``, ``CCSD``, ``CCSD(T)``, or a functional).
    """

    program: str
    version: str | None
    driver: str
    method: str
    basis: str | None
    symbols: Sequence[str]
    coordinates_bohr: Sequence[float]
    charge: int
    multiplicity: int
    energy_hartree: float
    energies: Mapping[str, float] = field(default_factory=dict)
    gradient: Sequence[float] | None = None
    hessian: Sequence[float] | None = None
    functions: int | None = None
    nuclear_repulsion_hartree: float | None = None
    quantities: Mapping[str, Any] = field(default_factory=dict)


_TOTALS = {
    "HF": "scf_total_energy", "DFT": "scf_total_energy", "MP2": "mp2_total_energy", "CCSD": "ccsd_total_energy",
    "CCSD(T)": "ccsd_prt_pr_total_energy",
}  # fmt: skip


def document(run: Run) -> str | None:
    """The file's text; None if the run cannot be an AtomicResult: an atom is not an element, or the result of its
    driver is missing or of another size."""
    size = 3 * len(run.symbols)
    returned: Any = {"energy": run.energy_hartree, "gradient": run.gradient, "hessian": run.hessian}.get(run.driver)
    if run.driver == "properties":
        returned = dict(run.quantities)
    sizes = {"gradient": size, "hessian": size * size}
    if not size or any(symbol not in NUMBERS for symbol in run.symbols) or len(run.coordinates_bohr) != size:
        return None
    if returned is None or (run.driver in sizes and len(returned) != sizes[run.driver]):
        return None
    written = _result(run, returned)
    try:
        return json.dumps(written, indent=1, allow_nan=False) + "\n"
    except ValueError:
        return None  # not a finite number


def _result(run: Run, returned: Any) -> dict[str, Any]:
    provenance = {"creator": run.program, "version": run.version or "", "routine": f"qmrunner {__version__}"}
    return {
        "schema_name": "qcschema_output",
        "schema_version": 1,
        "molecule": {
            "schema_name": "qcschema_molecule",
            "schema_version": 2,
            "symbols": list(run.symbols),
            "geometry": list(run.coordinates_bohr),
            "molecular_charge": float(run.charge),
            "molecular_multiplicity": run.multiplicity,
            # The geometry as computed: neither shifted nor rotated.
            "fix_com": True,
            "fix_orientation": True,
            "provenance": provenance,
        },
        "driver": run.driver,
        "model": {"method": run.method, "basis": run.basis},
        "keywords": {},
        "return_result": returned,
        "properties": _properties(run),
        "extras": {"qmrunner": dict(run.quantities)},
        "provenance": provenance,
        "success": True,
    }


def _properties(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {
        "calcinfo_natom": len(run.symbols),
        "calcinfo_nbasis": run.functions,
        "nuclear_repulsion_energy": run.nuclear_repulsion_hartree,
        "return_energy": run.energy_hartree,
        "return_gradient": run.gradient,
        "return_hessian": run.hessian,
    }
    found |= {_TOTALS[name]: value for name, value in run.energies.items() if name in _TOTALS}
    return {name: value for name, value in found.items() if value is not None}
