"""Whatever goes wrong in a thread of the daemon for a while: the thread lives and reports it, what ended is
committed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from qmrunner.supervisor.health import examine
from tests.lifecycle.lab import STAND_IN, Lab
from tests.sampling import share
from tests.support import ROOT, Home, ended_daemons, wait_for

INJECT = Path(__file__).with_name("inject")
# One function of each loop, the event that reports it, and how often it must have been met.
LOOPS = {
    ("qmrunner.worker.heartbeat", "Heartbeat._tick"): "beat_failed",
    ("qmrunner.worker.disk_watch", "DiskWatch.check"): "space_watch_failed",
    ("qmrunner.maintenance.lost_workers", "LostWorkers.run_once"): "judge_failed",
    ("qmrunner.maintenance", "plan_all"): "sweep_failed",
    ("qmrunner.supervisor.log_forwarder", "LogForwarder._rotate_events"): "tail_failed",
    ("qmrunner.supervisor.orphans", "Orphans.reap"): "supervisor_round_failed",
    ("qmrunner.attempt.commit", "AttemptCommitter._try_commit"): None,  # `commit_waits` or `internal_error`
    ("qmrunner.worker.claim_loop", "Worker._claim"): "claim_broken",
}


@pytest.mark.parametrize("problem", share(["disk", "memory", "threads", "sqlite", "bug"], 3))
def test_every_thread_outlives_what_goes_wrong_for_a_while(tmp_path: Path, problem: str) -> None:
    folder = tmp_path / "problems"
    folder.mkdir()
    plan = {"folder": str(folder), "problem": problem, "functions": list(LOOPS)}
    (folder / "plan").write_text(json.dumps(plan))
    settings = {
        "QMRUNNER_XTB": str(STAND_IN),
        "STAND_IN_GATE": str(tmp_path / "gate"),
        "QMRUNNER_SWEEP_SECONDS": "1",
        "QMRUNNER_SLOTS": "3",
    }
    home = Home(tmp_path / "home", settings)
    injected = ["env", f"PYTHONPATH={INJECT}:{ROOT}", f"PROBLEMS={folder / 'plan'}"]
    with ended_daemons(home) as start:
        daemon = start(before=injected)
        lab = Lab(home, start)
        first = lab.submit(gate=1)
        wait_for(lambda: lab.home.job(first)["steps"][0]["state"] == "running", what="a running engine")
        before = consumer(home)
        (folder / "on").touch()
        second = lab.submit()
        lab.open_gate()
        wait_for(lambda: met(folder, at_least=2), 40, "every loop to have met it twice")
        assert daemon.running()
        (folder / "on").unlink()
        assert [lab.ended(job, 40) for job in (first, second)] == ["succeeded"] * 2
        assert lab.attempts(first) == [(1, "succeeded", "ok")]
        wait_for(lambda: examine(home.settings)["healthy"], 20, "a healthy daemon")
        assert consumer(home) == before
        assert not daemon.events("consumer_died")
        told = Counter(one["event"] for one in events(home))
        # Once each, however often it was: they are reported again after a minute.
        expected = {name for name in LOOPS.values() if name and (name, problem) != ("tail_failed", "disk")}
        assert {name: told[name] for name in expected} == dict.fromkeys(expected, 1)
        lab.nothing_left(first, second)
        assert daemon.stop() == 0
        lab.close()


def met(folder: Path, at_least: int) -> bool:
    try:
        hits = Counter((folder / "hits").read_text().split())
    except OSError:
        return False
    # A claim is asked for with each hint, a commit waits longer and longer: once is enough of these.
    once = ("Worker._claim", "AttemptCommitter._try_commit")
    return all(hits[name] >= (1 if name in once else at_least) for _, name in LOOPS)


def consumer(home: Home) -> int:
    return int(examine(home.settings)["children"]["consumer"]["pid"])


def events(home: Home) -> list[dict[str, object]]:
    path = home.settings.run_root / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
