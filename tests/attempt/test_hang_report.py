"""What is written down of a hung tree: real processes, and debuggers that are missing, slow, or given up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmrunner.attempt.hang_report import write_report
from qmrunner.guardian import process_tree
from tests.support import wait_for


@pytest.fixture
def stopped() -> Iterator[int]:
    """The only child of a process of ours (there may be others: servers of other tests), and it has stopped itself."""
    stop = f"{sys.executable} -c 'import os, signal; os.kill(os.getpid(), signal.SIGSTOP)'"
    parent = subprocess.Popen(["/bin/sh", "-c", f"{stop} & wait"])
    try:
        wait_for(
            lambda: [one for one in process_tree.descendants(parent.pid) if one.state == "T"], 10.0, "a stopped child"
        )
        (child,) = process_tree.descendants(parent.pid)
        yield child.pid
    finally:
        for one in (*process_tree.descendants(parent.pid), parent):
            os.kill(one.pid, signal.SIGKILL)
        parent.wait()


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Only these programs are on PATH, beside what a script needs."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def parent_of(pid: int) -> int:
    stat = process_tree.stat_of(pid)
    assert stat is not None
    return stat.ppid


def report(tmp_path: Path, stopped: int, hurry: bool = False) -> str:
    path = tmp_path / "step.1.hang.txt"
    write_report(path, "hung: stopped (state T)", parent_of(stopped), lambda: hurry)
    return path.read_text()


def test_the_first_line_is_the_evidence_and_states_follow(
    tmp_path: Path, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch)
    text = report(tmp_path, stopped)
    assert text.splitlines()[0] == "hung: stopped (state T)"
    assert next(line for line in text.splitlines() if line.startswith(f"{stopped} ")).split()[2] == "T"
    assert f"== process {stopped} (python" in text
    assert "State:\tT (stopped)" in text
    assert "neither gdb nor py-spy is installed" in text


def test_stacks_come_from_the_debugger_that_fits_the_process(
    tmp_path: Path, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, gdb='echo "gdb $*"', py_spy='echo "spy $*"')
    text = report(tmp_path, stopped)
    assert f"== stack of process {stopped} (python" in text
    assert f"spy dump --nonblocking --pid {stopped}" in text
    (tmp_path / "bin" / "py-spy").unlink()
    assert f"-p {stopped}" in report(tmp_path, stopped)


def test_a_debugger_that_takes_too_long_is_ended_and_its_output_is_kept(
    tmp_path: Path, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qmrunner.attempt.hang_report._PROGRAM_LIMIT_S", 1.0)
    programs(tmp_path / "bin", monkeypatch, gdb="echo first frame; exec /bin/sleep 600")
    text = report(tmp_path, stopped)
    assert "first frame\n(ended after 1 s)" in text
    assert not [
        one for one in process_tree.descendants(os.getpid()) if one.comm in ("gdb", "sleep") and one.state not in "ZX"
    ]


def test_who_is_in_a_hurry_gets_states_without_stacks(
    tmp_path: Path, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, gdb="exec /bin/sleep 600")
    text = report(tmp_path, stopped, hurry=True)
    assert f"\n{stopped} " in text
    assert "no time was left" in text


def test_a_debugger_that_cannot_be_run_is_reported(
    tmp_path: Path, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, gdb="")
    (tmp_path / "bin" / "gdb").write_bytes(b"\x7fELF no program")
    assert "cannot be run: " in report(tmp_path, stopped)
