"""`qmrunner doctor` on this machine, or on one that is broken on purpose: other user, other mounts, other limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from qmrunner.engines.nwchem import NWChem
from tests.support import ROOT, Home, missing

# Under CI a missing engine is a failure: the tests then run, and say what is missing.
_CI = os.environ.get("CI") == "true"
NO_NWCHEM = NWChem().locate({}, shutil.which).path is None and not _CI
needs_nwchem = pytest.mark.skipif(NO_NWCHEM, reason="NWChem is not installed")
needs_xtb = pytest.mark.skipif(shutil.which("xtb") is None and not _CI, reason="xTB is not installed")


@dataclass(frozen=True)
class Diagnosis:
    """The output of one run of `qmrunner doctor --json`."""

    status: int
    checks: dict[str, dict[str, Any]]
    summary: dict[str, int]

    def fault(self, name: str, code: str, result: str = "fail") -> dict[str, Any]:
        """The finding `name`, which must have this result, this code and a remedy."""
        found = self.checks[name]
        assert (found["result"], found["code"]) == (result, code), found
        assert found["remedy"]
        if result == "fail":
            assert self.status == 4
        return found


class Doctor:
    def __init__(self, home: Home) -> None:
        self.home = home

    def __call__(self, *args: str, prefix: Sequence[str] = (), python_path: str = "", **variables: str) -> Diagnosis:
        """Run it under `prefix` (unshare, setpriv, …). It prints JSON, no traceback, and leaves the home alone."""
        before = self._files()
        ended = self.command("doctor", "--json", *args, prefix=prefix, python_path=python_path, **variables)
        assert "Traceback" not in ended.stderr, ended.stderr
        told = json.loads(ended.stdout)
        checks = {check["name"]: check for check in told["checks"]}
        assert len(checks) == len(told["checks"]), "names are not unique"
        assert told["summary"] == {
            result: sum(check["result"] == result for check in told["checks"]) for result in ("ok", "warn", "fail")
        }
        assert ended.returncode == (4 if told["summary"]["fail"] else 0)
        assert self._files() == before
        return Diagnosis(ended.returncode, checks, told["summary"])

    def command(
        self, *args: str, prefix: Sequence[str] = (), python_path: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """`qmrunner ARGS` under `prefix`, to its end. `python_path` comes before the checkout."""
        return subprocess.run(
            [*prefix, sys.executable, "-m", "qmrunner", *args],
            cwd=self.home.path.parent,
            env=self.home.environment(PYTHONPATH=os.pathsep.join(filter(None, [python_path, str(ROOT)])), **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def _files(self) -> list[tuple[str, bytes | None]]:
        return sorted(
            (str(path), path.read_bytes() if path.is_file() else None) for path in self.home.path.parent.rglob("*")
        )


def mounted(prefix: list[str], script: str) -> list[str]:
    """The prefix with `script` run first."""
    return [*prefix, f'{script}\nexec "$@"', "sh"]


# Refuses prctl(PR_SET_CHILD_SUBREAPER) and its question with EINVAL, as QEMU's user mode does (measured with 7.2), by a
# filter of system calls (seccomp(2)), and becomes the rest of the command line.
_REFUSING = """
import ctypes, os, struct, sys
number = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
steps = [
    (0x20, 0, 0, 0),            # which call
    (0x15, 0, 4, number),       # another: let it pass
    (0x20, 0, 0, 16),           # its first argument
    (0x15, 1, 0, 36),
    (0x15, 0, 1, 37),
    (0x06, 0, 0, 0x50000 | 22),
    (0x06, 0, 0, 0x7FFF0000),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"""


def emulated() -> list[str]:
    """The words before a command that has it run as under an emulator of another processor."""
    if os.uname().machine not in ("x86_64", "aarch64"):
        missing("the number of the system call is not known here")
    return [sys.executable, "-c", _REFUSING]
