"""What a command leaves behind when it ends: no open store, and no traceback where its output has no reader."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from qmrunner.app import App
from qmrunner.cli import program as command_line
from qmrunner.errors import QmrunnerError
from tests.support import ROOT, Home

COMMANDS = [
    "token add a --scope read",
    "token list",
    "token revoke a",
    "db check",
    "db upgrade",
    "submit xtb {folder}/w.xyz",
    "submit xtb {folder}/w.xyz --check",
    "status",
    "status --json",
    "status nosuch",
    "status --where state:queued",
    "why nosuch",
    "logs nosuch",
    "result nosuch",
    "cancel nosuch",
    "hold --where name:x --yes",
    "pause",
    "resume",
    "scratch plan",
    "scratch",
    "sweep --dry-run",
    "slurm setup {folder}/shared --store sqlite:///x",
    "slurm start",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_closes_the_stores_that_it_opened(
    command: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is only collected is reported by Python 3.13, and holds a place of a PostgreSQL server."""
    (tmp_path / "w.xyz").write_text("3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in [name for name in os.environ if name.startswith("QMRUNNER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QMRUNNER_HOME", str(home.path))
    monkeypatch.setenv("QMRUNNER_XTB", str(program))
    first = App(home.settings)
    first.open_store(create=True)
    first.close()
    opened: list[App] = []
    made = App.__init__

    def recorded(self: App, *args: object, **more: object) -> None:
        opened.append(self)
        made(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(App, "__init__", recorded)
    words = command.format(folder=tmp_path).split()
    try:
        command_line.program(words)(words, standalone_mode=False)
    except (QmrunnerError, click.ClickException):
        pass  # a command that fails closes its stores as well
    for app in opened:
        if "store" in app.__dict__:
            assert re.findall(r"(?:in pool|out connections): (\d+)", app.store.engine.pool.status()) == ["0", "0"]


@pytest.mark.parametrize("words", ["submit", "slurm submit", "status nosuch --json", "submit nmr --json", "--help"])
def test_a_reader_that_has_ended_gets_no_traceback(words: str, tmp_path: Path) -> None:
    """As `| head -1`: help, errors and their remedies are printed by other lines of code than results."""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "qmrunner", *words.split()], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QMRUNNER_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    os.close(write)
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr
