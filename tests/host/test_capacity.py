"""What limits a user: `ulimit -u` as a batch system or a login node sets it, in a process that has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT, missing

_SITE = next(path for path in (ROOT / ".venv" / "lib").glob("python3*/site-packages"))
# The interpreter of a virtual environment may be in a folder that only root can enter.
_CODE = """
import json, resource, threading
from qmrunner.host import capacity
event = threading.Event()
before = capacity.user_tasks_left()
threads = [threading.Thread(target=event.wait) for _ in range(5)]
[thread.start() for thread in threads]
print(json.dumps([before, capacity.user_tasks_left(), capacity.tasks_left()]))
event.set()
"""


@pytest.mark.parametrize(("limit", "expected"), [("40", (39, 34)), ("200", (199, 194)), ("20000", (None, None))])
def test_the_limit_of_a_user_counts_threads_of_all_processes(
    limit: str, expected: tuple[int | None, int | None], tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        missing("only root can become a user without processes")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None or f"lib/python{_version(python)}/" not in f"{_SITE}/":
        pytest.skip(f"the system's Python cannot load the packages of {_SITE}")
    user = 50_000 + os.getpid() % 10_000  # tests that run side by side are other users
    ended = subprocess.run(
        ["prlimit", f"--nproc={limit}:{limit}", "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
         python, "-c", _CODE],
        env={"PYTHONPATH": f"{ROOT}:{_SITE}", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert tuple(json.loads(ended.stdout)[:2]) == expected


def _version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
