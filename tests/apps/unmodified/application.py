"""A checkout of qm-nmr-calc, its interpreter, and one working folder of it, as a container would have."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PINNED = "da0bbf7"
QUEUE = "qm_nmr_calc.queue.huey"
_ENQUEUE = """
import json, sys
from qm_nmr_calc import tasks
from qm_nmr_calc.storage import create_job_directory
asked = json.loads(sys.argv[1])
more = {"conformer_method": asked["method"]} if asked["method"] else {}
job = create_job_directory(
    smiles=asked["smiles"], solvent="chcl3", nwchem_version="-", conformer_mode=asked["mode"], **more
)
task = tasks.run_ensemble_nmr_task if asked["mode"] == "ensemble" else tasks.run_nmr_task
print(json.dumps([job.job_id, task(job.job_id).id]))
"""


@dataclass(frozen=True)
class Calculation:
    """`engines`: how often one undisturbed run starts NWChem or CREST. `method` None: the application chooses."""

    name: str
    smiles: str
    mode: str
    engines: int
    method: str | None = None


CALCULATIONS = {
    "methane": Calculation("methane", "C", "single", 2),
    "vinyl-alcohol": Calculation("vinyl-alcohol", "C=CO", "ensemble", 4),
    # With `bin/crest` in front of PATH: two structures, optimised by the real xtb.
    "crest": Calculation("crest", "C=CO", "ensemble", 5, "crest"),
}


class Application:
    """Nothing in `checkout` is changed: its data are relative to the current directory, which is `folder`."""

    def __init__(self, checkout: Path, python: Path, folder: Path, ranks: int) -> None:
        self.checkout = checkout
        self.python = python
        self.folder = folder
        self.ranks = ranks
        (folder / "data").mkdir(parents=True, exist_ok=True)

    @property
    def command(self) -> list[str]:
        """The command of the application's own worker container."""
        return [str(self.python.parent / "huey_consumer"), QUEUE, "-w", "1", "-k", "process"]

    @property
    def environment(self) -> dict[str, str]:
        """What its container sets: the sources by PYTHONPATH, and the leave to run MPI as root."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.checkout / "src"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "NWCHEM_NPROC": str(self.ranks),
            "OMP_NUM_THREADS": "1",
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }

    def version(self) -> str:
        """The commit of the checkout. Raises SystemExit when a file in it was changed."""

        def git(*words: str) -> str:
            command = ["git", "-C", str(self.checkout), *words]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

        changed = git("status", "--porcelain", "--", "src", "pyproject.toml")
        if changed:
            raise SystemExit(f"this checkout is not unmodified:\n{changed}")
        return git("rev-parse", "--short=7", "HEAD")

    def enqueue(self, calculation: Calculation) -> tuple[str, str]:
        """What its API does for a request: the application's id of the job, and Huey's id of the task."""
        asked = json.dumps({name: getattr(calculation, name) for name in ("smiles", "mode", "method")})
        ended = subprocess.run(
            [str(self.python), "-W", "ignore", "-c", _ENQUEUE, asked],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if ended.returncode != 0:
            raise SystemExit(f"the application could not enqueue:\n{ended.stderr}")
        job, huey_id = json.loads(ended.stdout.splitlines()[-1])
        return job, huey_id

    def status(self, job: str) -> Mapping[str, Any] | None:
        """Its `status.json`; None while it is torn: the application writes it in place."""
        try:
            found: Mapping[str, Any] = json.loads((self.folder / "data/jobs" / job / "status.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def shifts(self, job: str) -> list[tuple[str, int, float]]:
        """Element, index and shift in ppm of every atom, as its API would show them."""
        results = (self.status(job) or {}).get("nmr_results") or {}
        rows = [*results.get("h1_shifts", []), *results.get("c13_shifts", [])]
        return sorted((row["atom"], row["index"], row["shift"]) for row in rows)

    def outputs(self, job: str) -> list[Path]:
        return sorted((self.folder / "data/jobs" / job / "scratch").rglob("*.out"))

    def left(self) -> dict[str, int]:
        """Messages that its storage still holds, anywhere."""
        tables = ("task", "schedule", "qmrunner_taken", "qmrunner_put")
        with closing(sqlite3.connect(self.folder / "data/huey.db", timeout=10)) as connection:
            known = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
            counted = {
                name: connection.execute(f"select count(*) from {name}").fetchone()[0]
                for name in tables
                if name in known
            }
        return {name: count for name, count in counted.items() if count}
