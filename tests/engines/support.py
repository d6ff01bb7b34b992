"""Recorded runs laid out as an attempt directory, for the engine tests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qmrunner.model.jobs import Demand, Exit, Step
from qmrunner.model.states import StepState

FIXTURES = Path(__file__).parents[1] / "fixtures"
_NOT_RESULTS = {"stdout.txt", "stderr.txt", "meta.json", "run.json", "timing.tsv"}


def step(engine: str, task: str, inputs: Mapping[str, str] | None = None, **params: Any) -> Step:
    """A running step of `engine`; whatever the engine does not read has a plain value."""
    return Step(
        id=1,
        job_id="job",
        name=task,
        stage=task,
        engine=engine,
        task=task,
        params=params,
        inputs=inputs or {},
        after=(),
        demand=Demand(),
        state=StepState.RUNNING,
        attempt=1,
        retries=0,
        priority=0,
        not_before=None,
        worker_id=1,
        code=None,
        failure_class=None,
        evidence=None,
        remedy=None,
        summary=None,
        result={},
        created_at=datetime.now(UTC),
        started_at=None,
        finished_at=None,
    )


def attempt(folder: Path, files_after: Mapping[str, int], target: Path) -> tuple[Path, Path]:
    """The attempt directory and the log (stdout, then stderr) of a recorded run.

    Files that were not recorded get their recorded size, filled so that they do not look cut.
    """
    directory = target / "attempt"
    directory.mkdir()
    for name, size in files_after.items():
        # Some runs worked in a folder below, to fill its file system: their attempt directory is that folder.
        place = directory / name.removeprefix("s/")
        recorded = folder / name.removeprefix("s/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if recorded.is_file() and recorded.name not in _NOT_RESULTS:
            shutil.copyfile(recorded, place)
        elif size < 1_000_000:
            place.write_bytes(_filled(place.name, size))
    log = target / "step.1.log"
    log.write_bytes((folder / "stdout.txt").read_bytes() + (folder / "stderr.txt").read_bytes())
    return directory, log


def exit_of(meta: Mapping[str, Any], **more: Any) -> Exit:
    """How a recorded run ended, from its `meta.json` or `run.json`."""
    if "returncode" in meta:
        code = meta["returncode"]
    else:
        code = meta["exit_code"] if meta["signal"] is None else -meta["signal"]
    return Exit(None, -code, **more) if code < 0 else Exit(code, **more)


def _filled(name: str, size: int) -> bytes:
    if size == 0:
        return b""
    if name == "hessian":
        return b"$hessian\n" + b" 0.1 0.2 0.3\n" * 12
    if name == "vibspectrum":
        return b"$vibrational spectrum\n$end\n"
    if name == "xtbopt.xyz":
        return b"2\n energy: -1.0\nH 0.0 0.0 0.0\nH 0.0 0.0 0.74\n"
    return b"x" * size
