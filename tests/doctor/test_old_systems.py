"""`qmrunner run` where the kernel or the filesystem lacks a call: under a filter that answers as those do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

# A filter of seccomp that answers the system call NUMBER with ENOSYS; then the command. x86-64 and arm64 numbers.
_FILTER = """
import ctypes, os, struct, sys
number, command = int(sys.argv[1]), sys.argv[2:]
words = [(0x20, 0, 0, 0), (0x15, 1, 0, number), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | 38)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *word) for word in words))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(words), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.cast(program, ctypes.c_void_p), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(command[0], command)
"""
_FLOCK = {"x86_64": 73, "aarch64": 32}
_PIDFD_OPEN = 434


@pytest.mark.parametrize(
    ("number", "code", "remedy"),
    [(_FLOCK.get(os.uname().machine), "locks_missing", "local disk"), (_PIDFD_OPEN, "kernel_unfit", "Linux 5.3")],
    ids=["no flock", "no pidfd_open"],
)
def test_a_system_without_a_needed_call_is_refused_by_its_name(
    tmp_path: Path, number: int | None, code: str, remedy: str
) -> None:
    assert number is not None, "add the number of flock on this machine"
    ended = subprocess.run(
        [sys.executable, "-c", _FILTER, str(number), sys.executable, "-m", "qmrunner", "run", "--until-idle"],
        env={**os.environ, "QMRUNNER_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    assert f"qmrunner: {code}: " in ended.stderr
    assert remedy in ended.stderr
