"""deploy/qmrunner.service, as systemd reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support import ROOT, missing

UNIT = ROOT / "deploy" / "qmrunner.service"


def analyze(*args: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        missing("systemd is not installed; the unit is read by nothing else")
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=60)


def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    """With a program that is there in place of ours."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/qmrunner/bin/qmrunner run", "/bin/true"))
    copy.chmod(0o644)
    verified = analyze("verify", "--man=no", str(copy))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_guardians_outlive_a_crash_and_every_grace_fits() -> None:
    unit = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
    grace = float(UNIT.read_text().partition("QMRUNNER_STOP_GRACE_SECONDS=")[2].split()[0])
    assert unit["KillMode"] == "process"
    assert unit["Type"] == "notify"
    assert float(unit["TimeoutStopSec"]) > grace
    assert float(unit["WatchdogSec"]) > 30  # the supervisor speaks every five seconds
