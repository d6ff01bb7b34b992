"""Huey's own tests, which are installed with it, through what qmrunner does to one task (`own_tests.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sampling import share
from tests.support import ROOT, missing

OLDER = "huey==2.5.4 --hash=sha256:0eac1fb2711f6366a1db003629354a0cea470a3db720d5bab0d140c28e993f9c"
# A repeated epilogue sends signals and runs hooks again.
REPEATED = ("huey.tests.test_signals.", "huey.tests.test_api.TestTaskHooks.")
# Their exceptions count how often one is made; reading a stored one makes it.
COUNTED = {
    "huey.tests.test_api.TestQueue.test_retry",
    "huey.tests.test_api.TestQueue.test_retries_with_override",
}


@pytest.fixture(params=["installed", pytest.param("older", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What comes before the installed Huey on the path of modules."""
    if request.param == "installed":
        return ""
    (tmp_path / "requirements").write_text(OLDER + "\n")
    target = tmp_path / "older"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    fetched = subprocess.run(
        [*command, "--require-hashes", "--only-binary", ":all:", "-r", str(tmp_path / "requirements")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if fetched.returncode != 0:
        missing(f"an older Huey could not be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
    return str(target)


def run(place: str, kind: str, folder: Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.apps.own_tests", kind],
        cwd=folder,  # in which some of them leave a file
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [place, str(ROOT)]))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert found["run"] > 70
    return found


@pytest.mark.slow
@pytest.mark.parametrize("storage", share(["memory", "sqlite"], 2))
@pytest.mark.timeout(300)
def test_hueys_own_tests_end_as_they_do_without_qmrunner(place: str, storage: str, tmp_path: Path) -> None:
    expected, found = run(place, f"plain-{storage}", tmp_path), run(place, storage, tmp_path)
    assert found == expected
    assert len(found["failed"]) <= 1  # of a storage or server that the test does not have


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_repeated_epilogue_changes_nothing_but_the_number_of_signals(place: str, tmp_path: Path) -> None:
    expected, found = run(place, "plain-sqlite", tmp_path), run(place, "again-sqlite", tmp_path)
    other = {name for name in found["failed"] if not name.startswith(REPEATED)} - set(expected["failed"])
    assert other == COUNTED
    assert (found["run"], found["skipped"]) == (expected["run"], expected["skipped"])
