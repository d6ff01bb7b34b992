"""Jobs that have ended with shifts, without an engine: the files and rows that a run would have left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import update

from qmrunner.app import App
from qmrunner.chemistry import structures
from qmrunner.chemistry.scaling import line_for
from qmrunner.chemistry.xyz import write_xyz
from qmrunner.store.tables import jobs, steps
from tests.prefork import preforked
from tests.support import Home

ETHANOL = {"1": 18.3, "2": 58.4, "4": 1.25, "5": 1.25, "6": 1.25, "7": 3.72, "8": 3.72, "9": 1.32}
METHOXYMETHANE = {"1": 60.9, "3": 60.9, **{str(atom): 3.24 for atom in range(4, 10)}}


def finish(
    home: Home,
    job_id: str,
    smiles: str,
    shifts: Mapping[str, float],
    folder: Path,
    *,
    level: str = "draft",
    energies: Sequence[float] = (-154.9,),
) -> None:
    """End a job of one conformer that has just been submitted, as `succeeded` with these `shifts` (ppm by atom).

    With several `energies` (hartree) it has as many conformers, whose shieldings differ by 1 ppm each.
    """
    folder.mkdir()
    result = _computed(folder, smiles, shifts, level, energies)
    app = App(home.settings)
    try:
        app.open_store(create=False)
        with app.store.write() as connection:
            now = app.store.now()
            here = steps.c.job_id == job_id
            done = {"state": "succeeded", "attempt": 1, "started_at": now, "finished_at": now}
            connection.execute(update(steps).where(here).values(**done))
            connection.execute(update(steps).where(here, steps.c.name == "shifts").values(result=result))
            ended = {"state": "succeeded", "summary": "shifts", "started_at": now, "finished_at": now}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**ended))
    finally:
        app.close()
    target = home.settings.jobs_root / job_id
    for name in result["files"]:
        shutil.copyfile(folder / name, target / name)
    (target / "shifts").mkdir()
    (target / "shifts" / "result.json").write_text(json.dumps(result))


def _computed(
    folder: Path, smiles: str, shifts: Mapping[str, float], level: str, energies: Sequence[float]
) -> dict[str, Any]:
    """What the step `shifts` makes of shieldings that have these shifts."""
    molecule = structures.read_smiles(smiles)
    assert molecule.bonds is not None
    points = _placed(smiles)
    lines = {nucleus: line_for(nucleus, "chloroform", level) for nucleus in ("1H", "13C")}
    conformers = []
    for place, energy in enumerate(energies):
        name = f"c{place + 1}"
        rows = []
        for atom, symbol in enumerate(molecule.symbols, start=1):
            line = lines["1H" if symbol == "H" else "13C"]
            value = (shifts.get(str(atom), 0.0) - line.intercept_ppm) / line.slope + place
            rows.append({"atom": atom, "element": symbol, "isotropic_ppm": value})
        (folder / f"s-{name}.json").write_text(json.dumps({"shieldings": rows}))
        (folder / f"o-{name}.json").write_text(json.dumps({"energy_hartree": energy}))
        (folder / f"g-{name}.xyz").write_text(write_xyz(molecule.symbols, points))
        conformers.append(
            {"id": name, "shielding": f"s-{name}.json", "optimise": f"o-{name}.json", "geometry": f"g-{name}.xyz"}
        )
    task = {
        "symbols": list(molecule.symbols),
        "source": {"smiles": smiles},
        "smiles": smiles,
        "bonds": [list(pair) for pair in molecule.bonds],
        "solvent": "chloroform",
        "level": level,
        "temperature_k": 298.15,
        "conformers": conformers,
    }
    (folder / "task.json").write_text(json.dumps(task))
    command = ["-m", "qmrunner.chemistry", "shifts", "task.json"]
    done = preforked("chemistry").run(command, folder, os.environ, 120.0)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def _placed(smiles: str) -> list[tuple[float, float, float]]:
    """A structure of the molecule, ångström."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    return [(x, y, z) for x, y, z in mol.GetConformer().GetPositions()]
