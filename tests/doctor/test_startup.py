"""What `qmrunner run` checks before it begins: it refuses what cannot work and warns of the rest, a JSON line each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

from tests.doctor.machines import Doctor, emulated, mounted
from tests.support import Daemon, Home, wait_for

ENGINES = ("NWCHEM", "XTB", "CREST")


def lines(text: str) -> dict[str, dict[str, Any]]:
    """The `check` events by check; every line must be JSON."""
    events = [json.loads(line) for line in text.splitlines()]
    return {event["check"]: event for event in events if event["event"] == "check"}


def test_a_daemon_with_faults_that_it_can_live_with_warns_and_starts(
    daemon: Callable[..., Daemon], home: Home, other_machine_binary: Path
) -> None:
    started = daemon(QMRUNNER_CREST=str(other_machine_binary), OMP_NUM_THREADS="8")
    done = wait_for(lambda: started.events("checks_done"), 10.0, "the checks to be told")
    told = {event["check"]: event for event in started.events("check")}
    assert told["crest"]["level"] == "error"
    assert told["crest"]["code"] == "exec_format"
    assert told["crest"]["remedy"]
    assert (told["environment"]["level"], told["environment"]["code"]) == ("warning", "environment_conflict")
    assert done[0]["fail"] == 1
    assert started.stop() == 0


def test_a_machine_without_any_engine_is_refused(home: Home) -> None:
    ended = home.run("run", **{f"QMRUNNER_{name}": "/nowhere" for name in ENGINES})
    assert ended.returncode == 4
    assert lines(ended.stdout)["engines"]["code"] == "no_engine"
    assert "qmrunner: no_engine: engines: none of NWChem, xTB and CREST is usable" in ended.stderr
    assert "fix:" in ended.stderr
    assert not home.path.exists()


def test_a_clock_in_the_past_is_refused(home: Home, tmp_path: Path) -> None:
    """What is written under it would be swept as years old when the clock is right again."""
    folder = tmp_path / "inject"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import time\ntime.time = lambda: 86400.0\n")
    ended = Doctor(home).command("run", python_path=str(folder))
    assert ended.returncode == 4
    assert "clock_in_the_past" in ended.stderr


def test_a_kernel_that_does_not_hand_over_orphans_is_refused(home: Home) -> None:
    """No promise about the end of an engine could be kept."""
    ended = Doctor(home).command("run", prefix=emulated())
    assert ended.returncode == 4
    assert ended.stderr.startswith("qmrunner: kernel_unfit")
    assert not home.path.exists()


def test_a_full_scratch_is_refused(home: Home, mounts: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    prefix = mounted(mounts, f"mount -t tmpfs -o size=1m tmpfs {quote(str(folder))}")
    ended = Doctor(home).command("run", prefix=prefix, QMRUNNER_SCRATCH=str(folder))
    assert ended.returncode == 4
    assert lines(ended.stdout)["scratch_space"]["code"] == "scratch_full"
    assert not home.path.exists()
