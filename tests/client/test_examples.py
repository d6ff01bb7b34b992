"""The examples of `examples/notebooks` run as they are, on a fresh home with the real daemon and engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT, Daemon, Home

EXAMPLES = ROOT / "examples" / "notebooks"
PRINTED = {
    "first_prediction": ("13C", "C 1 5", "Atoms(symbols='COH4'"),
    "compare_with_experiment": ("mean absolute error", "13C", "error_ppm"),
    "conformer_study": ("180°", "weight"),
    "killed_worker": ("killed; the job is running", "succeeded [", "job_accepted"),
    "huey_app": ("18.015", "weigh succeeded", "weighing H2O"),
}
OWN_WORKER = ("killed_worker", "huey_app")


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ranks
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_to_its_end(name: str, home: Home, daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    if name not in OWN_WORKER:
        daemon()
    folder = tmp_path / "work"
    folder.mkdir()
    environment = {**home.environment(PYTHONPATH=str(ROOT)), "MPLBACKEND": "agg", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for words in PRINTED[name]:
        assert words in done.stdout, done.stdout + done.stderr
    if name == "compare_with_experiment":
        assert (folder / "worst.png").stat().st_size > 1000
