"""An ASE calculator whose energies and forces are computed by qmrunner's workers. Needs ASE (extra `ase`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.units import Bohr, Hartree

from qmrunner.client.answer import Client, ask
from qmrunner.client.objects import electrons


class Qmrunner(Calculator):  # type: ignore[misc]  # ASE has few types
    """Energies and forces (eV, eV/Å) by `method` and `basis` as QCSchema names them, with keywords of the engine.

        atoms.calc = Qmrunner(client, method="GFN2-xTB")
        BFGS(atoms).run(fmax=0.01)

    `charge` and `multiplicity` None: the sums of ASE's initial charges and magnetic moments of the atoms, or those of
    `atoms.info`. Raises CalculationFailed, with code, evidence and remedy. Periodic structures are refused with
    ValueError.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]
    discard_results_on_any_change = True

    def __init__(
        self,
        client: Client,
        method: str = "GFN2-xTB",
        basis: str | None = None,
        *,
        charge: int | None = None,
        multiplicity: int | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._model = {"method": method, "basis": basis}
        self._charge, self._multiplicity = charge, multiplicity
        self._keywords = dict(keywords or {})

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """See ASE's Calculator. Computes forces only if `properties` has them."""
        super().calculate(atoms, properties, system_changes)
        document = self._input(self.atoms, "gradient" if "forces" in properties else "energy")
        answer = ask(self._client, document)
        if not answer.get("success"):
            error = answer["error"]
            more = [f"{key}: {value}" for key, value in (error.get("extras") or {}).items()]
            raise CalculationFailed("\n".join([f"{error['error_type']}: {error['error_message']}", *more]))
        energy = float(answer["properties"]["return_energy"]) * Hartree
        self.results = {"energy": energy, "free_energy": energy}
        if document["driver"] == "gradient":
            gradient = np.asarray(answer["return_result"], dtype=float).reshape(-1, 3)
            self.results["forces"] = -gradient * (Hartree / Bohr)

    def _input(self, atoms: Atoms, driver: str) -> dict[str, Any]:
        if atoms.pbc.any():
            raise ValueError("qmrunner computes molecules: set atoms.pbc to False")
        charge, multiplicity = self._charge, self._multiplicity
        if charge is None or multiplicity is None:
            own, unpaired = electrons(atoms)
            charge = own or 0 if charge is None else charge
            if multiplicity is None and unpaired is not None:
                multiplicity = unpaired + 1  # else the lowest that the electrons allow
        molecule: dict[str, Any] = {
            "schema_name": "qcschema_molecule",
            "schema_version": 2,
            "symbols": atoms.get_chemical_symbols(),
            "geometry": (atoms.positions / Bohr).ravel().tolist(),
            "molecular_charge": charge,
            "fix_com": True,
            "fix_orientation": True,
        }
        if multiplicity is not None:
            molecule["molecular_multiplicity"] = multiplicity
        return {
            "schema_name": "qcschema_input",
            "schema_version": 1,
            "molecule": molecule,
            "driver": driver,
            "model": self._model,
            "keywords": self._keywords,
        }
