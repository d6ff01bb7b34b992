"""Record what QCEngine's own harnesses return for the inputs of tests/real/test_qcschema.py.

    python benchmarks/qcengine_reference.py > tests/fixtures/qcengine/results.json

Needs QCEngine, its package for xTB (`pip install qcengine xtb`), and an `nwchem` on PATH.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_TIGHT = {
    "dft__convergence__energy": "1e-10",
    "dft__convergence__density": "1e-8",
    "dft__convergence__gradient": "1e-7",
}
# Bohr. Not on axes, and not centred: NWChem and QCEngine must not move them.
_MOLECULES: dict[str, dict[str, Any]] = {
    "H2O": {"symbols": ["O", "H", "H"], "geometry": [0.1, -0.2, 0.2217, 0.1, 1.2309, -0.8867, 0.1, -1.6309, -0.8867]},
    "NH3": {
        "symbols": ["N", "H", "H", "H"],
        "geometry": [0, 0, 0.21, 0, 1.77, -0.49, 1.53, -0.885, -0.49, -1.53, -0.885, -0.49],
    },
    "H3O+": {
        "symbols": ["O", "H", "H", "H"],
        "geometry": [0, 0, 0.1, 0, 1.75, -0.3, 1.53, -0.885, -0.3, -1.53, -0.885, -0.3],
        "molecular_charge": 1,
    },
    "OH": {"symbols": ["O", "H"], "geometry": [0, 0, 0, 0, 0, 1.83], "molecular_multiplicity": 2},
    "NH2": {
        "symbols": ["N", "H", "H"],
        "geometry": [0, 0, 0.15, 0, 1.52, -0.98, 0, -1.52, -0.98],
        "molecular_multiplicity": 2,
    },
}
_METHODS = {"hf": "6-31g*", "b3lyp": "6-31g*", "mp2": "6-31g*", "GFN2-xTB": None}


def inputs() -> dict[str, dict[str, Any]]:
    """The inputs by name."""
    found = {}
    for name, molecule in _MOLECULES.items():
        for method, basis in _METHODS.items():
            spin = "molecular_multiplicity" in molecule and method in ("hf", "mp2")
            keywords = {"scf__uhf": True} if spin else dict(_TIGHT) if method == "b3lyp" else {}
            found[f"{name} {method} gradient"] = _input(molecule, "gradient", method, basis, keywords)
    water = _MOLECULES["H2O"]
    found["H2O hf hessian"] = _input(water, "hessian", "hf", "6-31g*", {})
    found["H2O ccsd(t) energy"] = _input(water, "energy", "ccsd(t)", "6-31g*", {})
    found["H2O pbe spherical"] = _input(water, "gradient", "pbe", "cc-pvdz", {"basis__spherical": True, **_TIGHT})
    del found["OH b3lyp gradient"]  # its unpaired electron is in one of two equal orbitals: not converged to 1e-8
    return found


def _input(
    molecule: dict[str, Any], driver: str, method: str, basis: str | None, keywords: dict[str, Any]
) -> dict[str, Any]:
    return {
        "schema_name": "qcschema_input",
        "schema_version": 1,
        # Without `fix_symmetry` NWChem would rotate the molecule and move its atoms onto symmetry elements.
        "molecule": {**molecule, "fix_com": True, "fix_orientation": True, "fix_symmetry": "c1"},
        "driver": driver,
        "model": {"method": method, "basis": basis},
        "keywords": keywords,
    }


def main() -> None:
    import qcengine
    from qcelemental.models.v1 import AtomicInput

    found = {}
    for name, given in inputs().items():
        program = "xtb" if given["model"]["basis"] is None else "nwchem"
        answer = qcengine.compute(
            AtomicInput(**given), program, raise_error=True, task_config={"ncores": 1, "memory": 2}
        )
        result = json.loads(answer.json())
        energy, returned = result["properties"]["return_energy"], result["return_result"]
        creator = f"{result['provenance']['creator']} {result['provenance']['version']}"
        found[name] = {"input": given, "energy": energy, "return_result": returned, "by": creator}
        print(name, energy, file=sys.stderr)
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
    print(f"{{\n{rows}\n}}")


if __name__ == "__main__":
    main()
