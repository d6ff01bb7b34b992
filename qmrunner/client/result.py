"""The result of a job, whole: numbers, structures and pictures. Nothing is requested after `load`.

Energies are hartree, shifts and shieldings ppm, coordinates ångström; atoms are numbered from 1 in input order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qmrunner.client import objects
from qmrunner.client.described import SHIFTS
from qmrunner.client.packages import needed
from qmrunner.client.session import Session
from qmrunner.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import ase
    import pandas

Points = list[tuple[float, float, float]]
_ANGSTROM_PER_BOHR = 0.529177210903  # as engines write it
_STRUCTURES = ("ensemble.xyz", "geometry.xyz", "xtbopt.xyz", "crest_best.xyz")
_PICTURES = ("structure.svg", "spectrum_1H.svg", "spectrum_13C.svg")
_TEXTS = (*_STRUCTURES, *_PICTURES, "nmredata.sdf", "qcschema.json")
_CONFORMERS = ("id", "energy_hartree", "relative_kcal_mol", "weight", "degeneracy", "state", "reason")


async def load(session: Session, job_id: str) -> Result:
    """The result and the files it needs. Raises NotReadyError `no_result` before the job has succeeded."""
    data = await session.json("GET", f"/v1/jobs/{job_id}/result")
    wanted = [name for name in _TEXTS if name in data["files"]]
    if not any(name in wanted for name in (*_STRUCTURES, "qcschema.json")):
        wanted += [name for name in data["files"] if name.startswith("input/") and name.endswith(".xyz")][:1]
    texts = {}
    for name in wanted:
        texts[name] = (await session.ask("GET", f"/v1/jobs/{job_id}/files/{name}")).text
    return Result(data, texts)


class Result:
    """The result of one job. `data` is the JSON of `qmrunner result`, without its `folder`."""

    def __init__(self, data: dict[str, Any], texts: Mapping[str, str]) -> None:
        self.data = data
        self._texts = texts

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.data["id"])

    @property
    def kind(self) -> str:
        """The job's kind."""
        return str(self.data["kind"])

    @property
    def energy_hartree(self) -> float | None:
        """Energy of the lowest conformer, or of the run."""
        found: float | None = self.data["energy_hartree"]
        return found

    @property
    def quantities(self) -> dict[str, Any]:
        """What the program of a single run reported: `dipole_debye`, `charges_e` and others, by engine."""
        return dict(self.data.get("result") or {})

    @property
    def files(self) -> list[str]:
        """Names of the result files, for `job.file`."""
        return list(self.data["files"])

    @property
    def notes(self) -> list[str]:
        """Notes on the result: what was read, kept apart or changed."""
        return list(self.data.get("notes") or [])

    @property
    def provenance(self) -> dict[str, Any]:
        """Input, steps with program versions, scaling, and every automatic change."""
        return dict(self.data["provenance"])

    @property
    def symbols(self) -> list[str]:
        """The elements, in the order of all atoms."""
        found = self.provenance["input"].get("atoms")
        return list(found) if found else self._first[0]

    @cached_property
    def shifts(self) -> pandas.DataFrame:
        """One row for each H and C atom that gives a signal. Raises NotFoundError `no_shifts` for other jobs."""
        if not self.data["shifts"]:
            raise NotFoundError("no_shifts", f"job {self.id} ({self.kind}) has no shifts", remedy="see `.quantities`")
        return self._frame(self.data["shifts"], SHIFTS)

    @cached_property
    def conformers(self) -> pandas.DataFrame:
        """All conformers, the lowest first, then the dropped ones with the reason."""
        frame = self._frame(self.data["conformers"], _CONFORMERS)
        return frame.sort_values("energy_hartree", kind="stable", na_position="last", ignore_index=True)

    @cached_property
    def geometries(self) -> dict[str, tuple[list[str], Points]]:
        """Elements and coordinates of each kept conformer by its id, the lowest first; of a single run by "final"."""
        ensemble = self._texts.get("ensemble.xyz")
        if ensemble is None:
            return {"final": self._final()}
        found = {name: (symbols, points) for name, symbols, points in _frames(ensemble)}
        rank = {
            row["id"]: row["energy_hartree"] for row in self.data["conformers"] if row["energy_hartree"] is not None
        }
        return dict(sorted(found.items(), key=lambda item: rank.get(item[0], float("inf"))))

    @cached_property
    def mol(self) -> Any:
        """RDKit Mol with the kept conformers, the lowest first, and `shift_ppm` and `shielding_ppm` on its atoms.

        Atom N has index N - 1. Raises UsageError `bonds_unclear` where an XYZ does not show its bond orders.
        """
        from qmrunner.chemistry.annotated import annotated

        given = self.provenance["input"]
        block = self._texts.get("nmredata.sdf")
        points = {name: found for name, (_, found) in self.geometries.items()}
        smiles = (given.get("input") or {}).get("smiles")
        return annotated(smiles, block, self.symbols, self._electrons[0] or 0, points, self.data["shifts"])

    @property
    def atoms(self) -> ase.Atoms:
        """ASE Atoms of the lowest conformer, or of the final structure of a run."""
        return self.atoms_of(next(iter(self.geometries)))

    def atoms_of(self, conformer: str) -> ase.Atoms:
        """ASE Atoms of a kept conformer; `info` has `charge` and `multiplicity`. Raises NotFoundError
        `conformer_unknown`."""
        if conformer not in self.geometries:
            kept = ", ".join(self.geometries)
            raise NotFoundError("conformer_unknown", f"{conformer} is not kept", remedy=f"kept are {kept}")
        charge, multiplicity = self._electrons
        isotopes = dict(self.provenance["input"].get("isotopes") or [])
        return objects.atoms(*self.geometries[conformer], isotopes, charge, multiplicity)

    @property
    def qcschema(self) -> dict[str, Any]:
        """The run as an AtomicResult of QCSchema. Raises NotFoundError `no_qcschema` where it is none."""
        if "qcschema.json" not in self._texts:
            raise NotFoundError(
                "no_qcschema", f"job {self.id} ({self.kind}) is no single calculation that QCSchema describes",
                remedy="jobs of kinds nwchem and xtb have it, where their task is an energy, gradient or Hessian",
            )  # fmt: skip
        found: dict[str, Any] = json.loads(self._texts["qcschema.json"])
        return found

    @property
    def pictures(self) -> dict[str, str]:
        """SVG of the structure with atom numbers, and of the spectra, by file name."""
        return {name: self._texts[name] for name in _PICTURES if name in self._texts}

    def __repr__(self) -> str:
        energy = "" if self.energy_hartree is None else f", {self.energy_hartree:.6f} Eh"
        return f"<Result of {self.kind} {self.id}{energy}, {len(self.data['shifts'])} shifts>"

    def _repr_html_(self) -> str:
        from qmrunner.client.html import result_html

        return result_html(self)

    def _frame(self, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pandas.DataFrame:
        with needed("pandas"):
            import pandas
        more = dict.fromkeys(name for row in rows for name in row if name not in columns)
        return pandas.DataFrame(rows, columns=[*columns, *more])

    @cached_property
    def _first(self) -> tuple[list[str], Points]:
        return next(iter(self.geometries.values()))

    @property
    def _molecule(self) -> dict[str, Any]:
        """The molecule of the run in QCSchema, after an optimisation the last one; empty where there is none."""
        found = json.loads(self._texts.get("qcschema.json", "{}"))
        return dict(found.get("final_molecule") or found.get("molecule") or {})

    @property
    def _electrons(self) -> tuple[int | None, int | None]:
        """Charge and multiplicity, None if not known."""
        given, run = self.provenance["input"], self._molecule
        pairs = (("charge", "molecular_charge"), ("multiplicity", "molecular_multiplicity"))
        values = (given.get(own) if given.get(own) is not None else run.get(other) for own, other in pairs)
        charge, multiplicity = (None if value is None else round(value) for value in values)
        return charge, multiplicity

    def _final(self) -> tuple[list[str], Points]:
        for name, text in self._texts.items():
            if name.endswith(".xyz"):
                return list(_frames(text))[-1][1:]
        if "qcschema.json" not in self._texts:
            raise UsageError(
                "no_coordinates", f"job {self.id} has published no structure", remedy="`job.files()` lists its files"
            )
        molecule = self._molecule
        flat = [value * _ANGSTROM_PER_BOHR for value in molecule["geometry"]]
        return list(molecule["symbols"]), [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)]


def _frames(text: str) -> Iterator[tuple[str, list[str], Points]]:
    """Id, elements and coordinates of concatenated XYZ as qmrunner writes it: its comments begin with energy and id."""
    lines = text.splitlines()
    at = 0
    while at < len(lines) and lines[at].isascii() and lines[at].strip().isdigit():
        count = int(lines[at])
        words = lines[at + 1].split()
        rows = [line.split() for line in lines[at + 2 : at + 2 + count]]
        points = [(float(row[1]), float(row[2]), float(row[3])) for row in rows]
        yield (words[1] if len(words) > 1 else "final"), [row[0].capitalize() for row in rows], points
        at += 2 + count
