"""A store that is damaged, replaced or out of reach: reported clearly, never overwritten, and `status` still
answers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from tests.lifecycle.lab import Lab
from tests.support import Daemon, Home, wait_for


def test_a_damaged_store_stops_the_daemon_at_its_start_and_keeps_its_bytes(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    daemon().stop()
    store = home.path / "store.db"
    for suffix in ("-wal", "-shm"):
        store.with_name(f"store.db{suffix}").unlink(missing_ok=True)
    damaged = b"SQLite format 3\0" + os.urandom(len(store.read_bytes()) - 16)
    store.write_bytes(damaged)
    ended = home.run("run")
    assert ended.returncode == 4
    assert "store_corrupt" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert store.read_bytes() == damaged


def test_a_store_replaced_under_the_daemon_ends_it_with_a_failure_and_leaves_no_process(
    home: Home, daemon: Callable[..., Daemon], lab: Lab
) -> None:
    running = daemon()
    job = lab.submit(gate=1)
    wait_for(lambda: lab.home.job(job)["steps"][0]["state"] == "running", what="a running engine")
    strange = home.path / "strange.db"
    strange.write_bytes(b"somebody else's file")
    os.replace(strange, home.path / "store.db")
    assert running.process.wait(30) == 1
    assert running.events("store_unusable")[0]["code"] in ("store_replaced", "store_corrupt")
    assert (home.path / "store.db").read_bytes() == b"somebody else's file"
    wait_for(lambda: not home.processes(), what="the end of every process")


def test_status_answers_from_the_state_file_when_the_store_is_out_of_reach(home: Home) -> None:
    home.extra["QMRUNNER_STORE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    state = {"at": time.time() - 7, "attempts": [
        {"job": "abcdefgh", "step": "xtb", "attempt": 1, "engine_pid": 42, "progress": {"phase": "scf"}}
    ]}  # fmt: skip
    run_root = home.settings.run_root
    run_root.mkdir(parents=True)
    (run_root / "state.json").write_text(json.dumps(state))
    seen = home.json("status")
    assert seen["store"]["code"] == "store_unavailable"
    assert 7 <= seen["state_file"]["age_s"] < 60
    shown = home.run("status")
    assert shown.returncode == 0, shown.stderr
    assert "abcdefgh/xtb" in shown.stdout
