"""What guardians see of memory, shared memory and disk, with real processes, volumes and control groups."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from qmrunner.attempt.interpret import read_exit
from qmrunner.engines.nwchem.interpret import catalogue
from qmrunner.guardian import process_tree, sampling
from qmrunner.guardian.usage import Meter
from tests.processes import Attempt, Spawner
from tests.support import missing, tmpfs, wait_for

# Maps and fills a segment of 24 MiB, removes its file on request, and stays.
SEGMENT = """
import mmap, os, sys, time
path = f"/dev/shm/qmrunner-test-{os.getpid()}"
with open(path, "w+b") as file:
    file.truncate(24 << 20)
    view = mmap.mmap(file.fileno(), 24 << 20)
view.write(b"x" * (24 << 20))
if sys.argv[1] == "removed":
    os.unlink(path)
print("ready", path, flush=True)
time.sleep(600)
"""
HUNGRY = "print('rank', flush=True); held = [b'x' * (1 << 20) for _ in range(1000)]"
LIMIT_MIB = 150


@pytest.mark.parametrize("file", ["kept", "removed"])
def test_a_shared_segment_is_seen_whether_or_not_its_file_is_still_there(spawning: Spawner, file: str) -> None:
    attempt = spawning.guard(sys.executable, "-c", SEGMENT, file)
    ready = wait_for(lambda: attempt.log.read_text().split() if attempt.log.exists() else None, 10, "the segment")
    pid = attempt.engine().pid
    assert sampling.shm_bytes([pid]) == sampling.shm_bytes([pid, pid]) == 24 << 20
    wait_for(lambda: _usage(attempt)["shm_mib"] >= 24, 10, "the guardian's look")
    attempt.stop()
    record = attempt.exit()
    assert record["peak_shm_mib"] == 24.0
    assert record["peak_memory_mib"] > 24
    Path(ready[1]).unlink(missing_ok=True)


def test_a_segment_that_comes_between_two_looks_is_looked_at_before_it_is_gone(tmp_path: Path) -> None:
    meter = Meter(str(tmp_path), str(tmp_path / "log"))

    def known() -> bool:
        meter.sample()
        return not meter.is_due(meter.next_due)

    for _ in range(8):  # the looks are two seconds apart now
        meter.sample()
    at = meter.sampled_at
    assert not meter.is_due(at + 0.6)
    with NamedTemporaryFile(dir="/dev/shm") as segment:
        segment.write(b"x" * (3 << 20))
        segment.flush()
        assert meter.next_due <= at + 1.1
        assert meter.is_due(meter.next_due)
        wait_for(known, 5.0, "a look that knows it")
    assert not meter.is_due(meter.next_due)
    assert meter.is_due(meter.sampled_at + 2.0)


def test_memory_counts_what_processes_share_once(spawning: Spawner) -> None:
    """Four processes of one program map the same libraries; RSS counts those four times."""
    attempt = spawning.guard("sh", "-c", "for i in 1 2 3; do sleep 60 & done; echo up; sleep 60")
    wait_for(lambda: _usage(attempt)["processes"] >= 4, 10, "a look at all of them")
    attempt.stop()
    record = attempt.exit()
    assert 0 < record["peak_memory_mib"] < record["peak_rss_mib"]


def test_what_stays_above_its_quota_is_stopped_and_reports_it(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "head -c 5M /dev/zero > big; sleep 60", scratch_quota_mib=4)
    with attempt.connect():
        record = attempt.exit(20)
    assert (record["stop_reason"], record["peak_scratch_mib"]) == ("scratch_quota", 5.0)


def test_a_quota_that_was_raised_in_time_stops_nothing(spawning: Spawner) -> None:
    script = "head -c 5M /dev/zero > big; while [ ! -e done ]; do sleep 0.05; done"
    attempt = spawning.guard("sh", "-c", script, scratch_quota_mib=4)
    with attempt.connect() as client:
        client.send(json.dumps({"op": "quota", "scratch_mib": 6}).encode() + b"\n")
        looks = 0
        for line in client.makefile():
            looks += json.loads(line).get("usage", {}).get("scratch_mib") == 5.0
            if looks == 5:  # at least three walks
                break
        (attempt.folder.work / "done").touch()
        assert (attempt.exit()["returncode"], attempt.exit()["stop_reason"]) == (0, None)


def test_without_a_consumer_that_could_raise_it_twice_the_quota_will_do(spawning: Spawner) -> None:
    kept = spawning.guard("sh", "-c", "head -c 5M /dev/zero > big; sleep 5", scratch_quota_mib=4)
    ended = spawning.guard("sh", "-c", "head -c 9M /dev/zero > big; sleep 60", scratch_quota_mib=4)
    assert ended.exit(20)["stop_reason"] == "scratch_quota"
    assert kept.exit(20)["stop_reason"] is None


def test_a_single_file_cannot_grow_beyond_what_was_free(spawning: Spawner) -> None:
    record = spawning.guard("sh", "-c", "exec head -c 3M /dev/zero > big", file_limit_bytes=2 << 20).exit()
    assert (record["signal"], record["peak_scratch_mib"]) == (signal.SIGXFSZ, 2.0)


def test_a_log_on_a_disk_that_fills_up_is_never_taken_for_whole(spawning: Spawner, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "logs", 2) as logs:
        attempt = spawning.guard("sh", "-c", "head -c 3M /dev/zero; exit 0", log=str(logs / "a.log"))
        record = attempt.exit()
        assert record["disk_full"] is True
        finding = catalogue().classify(Path(attempt.order.log), read_exit(record))
        assert finding is not None


@contextmanager
def limited_memory(spawner: Spawner, mib: int) -> Iterator[Path]:
    """The spawner, and so its guardians and their engines, in a separate memory control group (v1 or v2)."""
    v1 = Path("/sys/fs/cgroup/memory")
    group = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"qmrunner-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = group / ("memory.limit_in_bytes" if v1.is_dir() else "memory.max")
        limit.write_text(str(mib << 20))
        (group / "cgroup.procs").write_text(str(spawner.process.pid))
    except OSError as problem:
        if group.is_dir():
            group.rmdir()
        missing(f"no control group of our own here: {problem}")
    yield group


def test_a_rank_that_met_the_memory_limit_is_distinguished_from_one_killed_by_hand(spawning: Spawner) -> None:
    with limited_memory(spawning, LIMIT_MIB) as group:
        try:
            hungry = spawning.guard("sh", "-c", f'{sys.executable} -c "{HUNGRY}"; exit $?')
            starved = hungry.exit(30)
            patient = spawning.guard("sh", "-c", "echo rank; sleep 60; exit $?")
            rank = wait_for(lambda: process_tree.children_of(patient.engine().pid), 5, "the rank")[0]
            os.kill(rank, signal.SIGKILL)
            killed = patient.exit()
        finally:
            spawning.close()
            wait_for(lambda: not (group / "cgroup.procs").read_text(), 5, "an empty group")
            group.rmdir()
    assert starved["returncode"] == killed["returncode"] == 137
    assert (starved["oom_kills"], killed["oom_kills"]) == (1, 0)
    codes = [
        finding.code if finding else None
        for finding in (
            catalogue().classify(hungry.log, read_exit(starved)),
            catalogue().classify(patient.log, read_exit(killed)),
        )
    ]
    assert codes[0] == "oom_killed"
    assert codes[1] != "oom_killed"


def _usage(attempt: Attempt) -> dict[str, float]:
    """What the guardian has measured by now: its greeting contains it."""
    with attempt.connect() as client:
        usage: dict[str, float] = json.loads(client.makefile().readline())["usage"]
        return usage
