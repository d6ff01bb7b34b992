"""`qmrunner submit` of ensembles, as a user runs it: what cannot be done is refused before anything is stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def submit(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QMRUNNER_")}
    env = kept | {"QMRUNNER_HOME": str(home)} | {f"QMRUNNER_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "qmrunner", "submit", *words]
    return subprocess.run(command, env=env, cwd=home.parent, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kind", ["nmr", "conformers"])
def test_a_search_by_a_crest_that_is_not_there_is_refused_with_its_fix(tmp_path: Path, kind: str) -> None:
    done = submit(tmp_path / "home", kind, "CCO", "--conformers", "crest", CREST="/nowhere/crest")
    assert done.returncode == 4
    assert "engine_missing" in done.stderr
    assert "--conformers rdkit" in done.stderr
    assert not (tmp_path / "home" / "jobs").exists()


def test_auto_without_crest_searches_with_rdkit_and_the_job_reports_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    xtb = tmp_path / "xtb"
    xtb.write_text("#!/bin/sh\n")
    xtb.chmod(0o755)
    done = submit(home, "conformers", "CCO", "--conformers", "auto", "--json", CREST="/nowhere/crest", XTB=str(xtb))
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)["id"]
    env = os.environ | {"QMRUNNER_HOME": str(home)}
    command = [sys.executable, "-m", "qmrunner", "status", job, "--json"]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    (step,) = json.loads(shown.stdout)["job"]["steps"]
    assert (step["id"], step["engine"]) == ("conformers", "chemistry")


def test_a_molecule_beyond_the_limit_is_refused_with_its_cost(tmp_path: Path) -> None:
    done = submit(tmp_path / "home", "nmr", "CCO", "--max-atoms", "5")
    assert done.returncode == 2
    assert "too_many_atoms" in done.stderr
    assert "core hours" in done.stderr
    assert not (tmp_path / "home").exists()


def test_the_limit_is_a_setting_and_the_option_goes_before_it(tmp_path: Path) -> None:
    refused = submit(tmp_path / "home", "nmr", "CCO", MAX_ATOMS="5")
    assert refused.returncode == 2
    assert "more than the limit of 5" in refused.stderr
    assert submit(tmp_path / "home", "nmr", "CCO", "--max-atoms", "9", MAX_ATOMS="5").returncode == 0
