"""A consumer that waits until its supervisor has ended the orphans it inherited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import Home

_DEADLINE_S = 0.5
_CONSUMER = f"""
import sys, threading
from qmrunner.app import App
from qmrunner.attempt import teardown
from qmrunner.attempt.log_registry import LogRegistry
from qmrunner.attempt.runner import AttemptRunner
from qmrunner.guardian import process_tree
from qmrunner.settings import load
process_tree.name_process(process_tree.CONSUMER_NAME)
teardown.DEADLINE_S = {_DEADLINE_S}
app = App(load())
print(AttemptRunner(app, 1, LogRegistry(app.settings.run_root), threading.Event()).wait_for_orphans())
"""
_SUPERVISOR = f"""
import subprocess, sys
from pathlib import Path
from qmrunner.host.home import SUPERVISOR_FILE, write_state
listed, root = sys.argv[1] == "listed", Path(sys.argv[2])
with subprocess.Popen(["sleep", "60"]) as program:
    try:
        write_state(root / SUPERVISOR_FILE, {{"children": {{"app": {{"pid": program.pid if listed else None}}}}}})
        subprocess.run([sys.executable, "-c", {_CONSUMER!r}], check=True)
    finally:
        program.kill()
"""


@pytest.mark.parametrize("listed", [True, False])
def test_only_what_the_supervisor_does_not_keep_running_is_an_orphan(home: Home, listed: bool) -> None:
    """The command of an application may be any program; by its name alone it looked like an orphan."""
    root = home.settings.run_root
    root.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", _SUPERVISOR, "listed" if listed else "not listed", str(root)],
        env=home.environment(PYTHONPATH=str(Path(__file__).parents[2])),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, f"{listed}\n"), done.stderr
