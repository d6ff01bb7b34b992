"""A daemon's first start creates the schema, and keeps nothing of what that took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

CODE = """
import os, signal, sys
from pathlib import Path
from qmrunner.app import App
from qmrunner.settings import Settings
from qmrunner.store import schema
from qmrunner.supervisor import first_start

home, how = Path(sys.argv[1]), sys.argv[2]
forks = []
os.register_at_fork(before=lambda: forks.append(1))
if how == "ignoring children":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if how == "child fails":
    create, own = schema.upgrade, os.getpid()
    schema.upgrade = lambda store: create(store) if os.getpid() == own else 1 / 0
app = App(Settings(home=home, store_url=f"sqlite:///{home}/store.db"))
app.make_home()
first_start.open_store(app)
print(schema.status(app.store), len(forks), "alembic" in sys.modules)
"""


def started(home: Path, how: str = "") -> str:
    ran = subprocess.run([sys.executable, "-c", CODE, str(home), how], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("how", ["", "ignoring children"])
def test_a_child_creates_the_schema_once(tmp_path: Path, how: str) -> None:
    assert started(tmp_path / "home", how) == "current 1 False"
    assert started(tmp_path / "home", how) == "current 0 False"


def test_what_a_child_could_not_create_the_daemon_creates_itself(tmp_path: Path) -> None:
    assert started(tmp_path / "home", "child fails") == "current 1 True"
