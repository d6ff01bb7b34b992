"""A rank of a real NWChem that is stopped: detected, reported, ended, and the retry ends with the right energy."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Stat
from tests.support import Daemon, Home, wait_for

DECK = """start methanol
geometry units angstrom noautosym
 C -0.0469  0.6634 0.0
 O -0.0469 -0.7571 0.0
 H -1.0931  0.9700 0.0
 H  0.4391  1.0708 0.8888
 H  0.4391  1.0708 -0.8888
 H  0.8776 -1.0450 0.0
end
basis spherical
 * library 3-21g
end
dft
 xc b3lyp
 direct
end
task dft optimize
"""
pytestmark = [pytest.mark.engine, pytest.mark.ranks, pytest.mark.timeout(400)]


def ranks(engine_pid: int) -> list[Stat]:
    return [one for one in process_tree.descendants(engine_pid) if one.comm.startswith("nwchem")]


def running(home: Home, job: str) -> dict[str, Any] | None:
    """The step, once its ranks are in the middle of the second self-consistent field."""
    (step,) = home.job(job)["steps"]
    log = Path(step["log"] or "/nonexistent")
    if step["state"] != "running" or not log.exists() or "@    0" not in log.read_text(errors="replace"):
        return None
    return dict(step) if len(ranks(step["engine_pid"])) == 2 else None


@pytest.mark.slow
def test_a_stopped_rank_is_caught_and_the_retry_ends_with_the_right_energy(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    (home.path.parent / "methanol.nw").write_text(DECK)
    home.extra |= {"QMRUNNER_HANG_FLOOR_SECONDS": "2"}
    running_daemon = daemon()
    job = str(home.json("submit", "nwchem", "methanol.nw")["id"])
    step = wait_for(lambda: running(home, job), 120.0, "two ranks at work")
    assert step is not None
    victim = ranks(step["engine_pid"])[1]
    os.kill(victim.pid, signal.SIGSTOP)
    final = ("succeeded", "failed", "held")
    wait_for(lambda: home.job(job)["state"] in final, 180.0, "the end of the job")
    why = home.json("why", job)
    assert [(one["attempt"], one["code"]) for one in why["attempts"]] == [(1, "hung"), (2, "ok")]
    assert home.json("result", job)["energy_hartree"] == pytest.approx(-115.073593, abs=2e-5)
    (event,) = running_daemon.told("step_hung")
    assert event["kind"] == "stopped"
    assert f"process {victim.pid} (nwchem" in event["evidence"]
    report = Path(event["report"]).read_text(errors="replace")
    row = next(line for line in report.splitlines() if line.startswith(f"{victim.pid} "))
    assert row.split()[2] == "T"
