"""Machines for `qmrunner doctor`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.machines import Doctor
from tests.support import Home


@pytest.fixture
def doctor(home: Home) -> Doctor:
    return Doctor(home)


@pytest.fixture
def mounts() -> Iterator[list[str]]:
    """The beginning of a command that runs in a separate mount namespace, after the shell words appended to it."""
    for flags in ("-m", "-rm"):
        tried = subprocess.run(["unshare", flags, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
        if tried.returncode == 0:
            yield ["unshare", flags, "sh", "-ec"]
            return
    if os.environ.get("CI") == "true":
        pytest.fail("mounting is not allowed here, and these tests need it")
    pytest.skip("mounting is not allowed here")


@pytest.fixture
def other_machine_binary(tmp_path: Path) -> Path:
    """A real program whose header is that of another machine: the kernel refuses to run it."""
    data = bytearray(Path("/bin/true").read_bytes())
    data[18:20] = (62 if os.uname().machine == "aarch64" else 183).to_bytes(2, "little")
    path = tmp_path / "elsewhere"
    path.write_bytes(data)
    path.chmod(0o755)
    return path
