"""The daemon is started in any folder: no process of it takes a module from there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, Home, wait_for

_NAMES = ("qmrunner", "random", "queue", "secrets", "sqlalchemy")


def test_modules_of_the_current_folder_are_not_imported(home: Home) -> None:
    folder = home.path.parent / "folder"
    folder.mkdir()
    for name in _NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder')\n")
    output = home.path.parent / "output"
    with open(output, "wb") as sink:
        command = [sys.executable, "-P", "-m", "qmrunner", "run"]
        process = subprocess.Popen(command, cwd=folder, env=home.environment(), stdout=sink, stderr=sink)
    try:
        wait_for(lambda: "consumer_started" in _events(output), 30.0, f"a worker: {output.read_text()}")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "of the current folder" not in output.read_text()


def test_every_process_of_ours_is_started_without_the_current_folder() -> None:
    starts = [
        (str(path.relative_to(ROOT)), found)
        for path in (ROOT / "qmrunner").rglob("*.py")
        for found in re.findall(r'\[[^\[\]]*sys\.executable,[^\[\]]*"-[mc]"', path.read_text())
    ]
    assert len(starts) >= 6
    assert [start for start in starts if '"-P"' not in start[1]] == []


def _events(output: Path) -> list[str]:
    lines = output.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{") and line.endswith("}")]
