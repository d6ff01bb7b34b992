"""Guardians and the spawner with real processes: the truth about ends, and no survivors."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote

import pytest

from qmrunner.guardian import engine_start, process, process_tree
from tests.processes import HARD_TREE, HARD_TREE_MEMBERS, Spawner
from tests.support import wait_for

AllGone = Callable[..., float]


# -- the truth about an end -------------------------------------------------------------------------------------------


def test_a_hundred_exit_codes_are_recorded_as_they_were(spawning: Spawner) -> None:
    attempts = [spawning.guard("sh", "-c", f"exit {code}") for code in range(100)]
    told = [attempt.exit() for attempt in attempts]
    assert [record["returncode"] for record in told] == list(range(100))
    assert {record["signal"] for record in told} == {None}
    assert {record["stop_reason"] for record in told} == {None}


def test_a_death_by_signal_is_no_exit_code(spawning: Spawner) -> None:
    numbers = [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGTERM]
    attempts = [spawning.guard("sh", "-c", f"kill -{int(number)} $$") for number in numbers]
    told = [attempt.exit() for attempt in attempts]
    assert [record["signal"] for record in told] == [int(number) for number in numbers]
    assert {record["returncode"] for record in told} == {None}


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such/program", 127), ("not-on-any-path", 127), ("/etc/passwd", 126)]
)
def test_what_cannot_be_executed_is_reported_in_record_and_log(spawning: Spawner, program: str, code: int) -> None:
    attempt = spawning.guard(program)
    record = attempt.exit()
    assert record["returncode"] == code
    assert record["exec_error"]
    assert f"cannot execute {program}" in attempt.log.read_text()


def test_a_missing_work_folder_is_reported_in_record_and_log(spawning: Spawner, tmp_path: Path) -> None:
    record = spawning.guard("true", cwd=str(tmp_path / "nowhere")).exit()
    assert (record["returncode"], record["exec_error"]) == (127, "No such file or directory")


def test_an_exit_record_is_there_whole_or_not_at_all(spawning: Spawner) -> None:
    attempts = [spawning.guard("sh", "-c", "exit 3") for _ in range(20)]
    torn: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for attempt in attempts:
                try:
                    text = (attempt.folder.path / process.EXIT).read_text()
                    json.loads(text)
                except FileNotFoundError:
                    continue
                except ValueError:
                    torn.append(text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for attempt in attempts:
            attempt.exit()
    finally:
        done.set()
        watcher.join()
    assert torn == []
    assert not list(attempts[0].folder.path.glob("*.new"))


# -- what an engine finds ---------------------------------------------------------------------------------------------


def test_an_engine_starts_with_clean_signals_limits_and_descriptors(spawning: Spawner) -> None:
    status = spawning.guard("cat", "/proc/self/status", "/proc/self/limits")
    files = spawning.guard("ls", "-l", "/proc/self/fd")
    assert status.exit()["returncode"] == files.exit()["returncode"] == 0
    text = status.log.read_text()
    masks = dict(re.findall(r"^(Sig(?:Blk|Ign|Cgt)):\s+(\w+)$", text, re.M))
    # glibc itself catches 32 and 33 where there are threads.
    assert {name: int(mask, 16) & 0x7FFFFFFF for name, mask in masks.items()} == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}
    soft, hard = re.findall(r"^Max stack size\s+(\S+)\s+(\S+)", text, re.M)[0]
    assert soft == hard
    opened = dict(re.findall(r" (\d+) -> (.*)$", files.log.read_text(), re.M))
    opened.pop("3")  # the folder that ls itself reads
    assert opened == {"0": "/dev/null", "1": str(files.log), "2": str(files.log)}


def test_the_kernel_ends_an_engine_before_the_daemon_when_memory_ends(spawning: Spawner) -> None:
    engine = spawning.guard("cat", "/proc/self/oom_score_adj")
    assert engine.exit()["returncode"] == 0
    assert int(engine.log.read_text()) == engine_start.OOM_SCORE > int(Path("/proc/self/oom_score_adj").read_text())


def test_the_engine_leads_its_own_session_and_has_its_own_folder(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "pwd; cat /proc/self/stat; exec sleep 60")
    engine = attempt.engine()
    assert wait_for(lambda: attempt.log.read_text().count("\n") == 2, 5.0)
    folder, stat = attempt.log.read_text().splitlines()
    assert folder == str(attempt.folder.work)
    assert int(stat.rsplit(")", 1)[1].split()[3]) == engine.pid


def test_who_guardian_and_engine_are_is_on_disk_before_the_engine_starts(spawning: Spawner) -> None:
    attempt = spawning.guard("cat", "../guardian.json")
    attempt.exit()
    record = json.loads(attempt.log.read_text())
    assert record["marker"] == attempt.marker
    assert record["guardian"]["pid"] == attempt.pid
    assert record["engine"]["pid"] > 0


# -- ending a tree ----------------------------------------------------------------------------------------------------


def test_a_stop_ends_every_member_of_a_tree_that_does_not_want_to_end(spawning: Spawner, all_gone: AllGone) -> None:
    attempt = spawning.guard(*HARD_TREE)
    members = attempt.members()
    assert len(members) == HARD_TREE_MEMBERS
    began = time.monotonic()
    attempt.stop("cancel", 0.3)
    record = attempt.exit()
    assert all_gone(members, 0.1) < 0.1  # proven before the record was written
    assert record["stop_reason"] == "cancel"
    assert time.monotonic() - began < 2.0


def test_ten_stopped_trees_leave_no_survivor(spawning: Spawner, all_gone: AllGone) -> None:
    attempts = [spawning.guard(*HARD_TREE) for _ in range(10)]
    members = [member for attempt in attempts for member in attempt.members()]
    for attempt in attempts:
        attempt.stop("cancel", 0.0)
    for attempt in attempts:
        attempt.exit()
    assert not any(process_tree.is_alive(member) for member in members)


def test_an_engine_that_ends_on_term_is_not_killed(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "trap 'echo saved; exit 7' TERM; echo up; while :; do sleep 0.02; done")
    wait_for(lambda: attempt.log.exists() and "up" in attempt.log.read_text(), 5.0)
    attempt.stop("drain", 5.0)
    record = attempt.exit()
    assert (record["returncode"], record["stop_reason"]) == (7, "drain")
    assert "saved" in attempt.log.read_text()


def test_a_stopped_engine_hears_term_because_cont_follows(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "trap 'exit 9' TERM; echo up; kill -STOP $$; sleep 60")
    engine = attempt.engine()
    wait_for(lambda: (stat := process_tree.stat_of(engine.pid)) and stat.state == "T", 5.0, "a stopped engine")
    attempt.stop("drain", 5.0)
    assert attempt.exit()["returncode"] == 9


def test_a_second_stop_shortens_the_grace_and_keeps_the_first_reason(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    wait_for(lambda: attempt.log.exists() and "up" in attempt.log.read_text(), 5.0)
    began = time.monotonic()
    attempt.stop("drain", 60.0)
    attempt.stop("cancel", 0.0)
    record = attempt.exit()
    assert (record["signal"], record["stop_reason"]) == (signal.SIGKILL, "drain")
    assert time.monotonic() - began < 2.0


def test_what_an_engine_leaves_behind_is_ended_and_counted(spawning: Spawner, all_gone: AllGone) -> None:
    attempt = spawning.guard("sh", "-c", "setsid env -i sleep 300 & echo member $!; exit 4")
    record = attempt.exit()
    members = [int(line.split()[1]) for line in attempt.log.read_text().splitlines()]
    assert (record["returncode"], record["stop_reason"]) == (4, None)
    assert record["survivors_ended"] >= 1
    assert [process_tree.stat_of(pid) for pid in members] == [None]


def test_a_guardian_that_hears_term_ends_its_tree(spawning: Spawner, all_gone: AllGone) -> None:
    attempt = spawning.guard(*HARD_TREE)
    members = attempt.members()
    os.kill(attempt.pid, signal.SIGTERM)
    assert attempt.exit()["stop_reason"] == "terminated"
    all_gone(members, 0.1)


# -- adoption ---------------------------------------------------------------------------------------------------------


def test_a_tree_that_no_consumer_adopts_within_the_window_is_ended(spawning: Spawner, all_gone: AllGone) -> None:
    attempt = spawning.guard(*HARD_TREE, adoption_s=0.8, grace_s=0.1)
    members = attempt.members()
    record = attempt.exit()
    assert record["stop_reason"] == "abandoned"
    assert record["wall_s"] >= 0.8
    all_gone(members, 0.1)


def test_the_window_starts_when_the_last_consumer_leaves(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "60", adoption_s=0.5, grace_s=0.1)
    with attempt.connect() as client:
        hello = json.loads(client.recv(65536).splitlines()[0])
        assert hello["event"] == "hello"
        assert hello["engine_pid"] == attempt.engine().pid
        end = time.monotonic() + 1.0  # twice the window
        while time.monotonic() < end:
            client.recv(65536)
            assert attempt.folder.exit_record() is None
    assert attempt.exit()["stop_reason"] == "abandoned"


def test_a_new_consumer_is_notified_of_the_end(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "0.4")
    attempt.connect().close()
    with attempt.connect() as client:
        heard = b""
        while chunk := client.recv(65536):
            heard += chunk
    events = [json.loads(line)["event"] for line in heard.splitlines()]
    assert events[0] == "hello"
    assert events[-1] == "exit"
    assert attempt.exit()["returncode"] == 0


def test_a_consumer_that_never_reads_does_not_hold_the_guardian_up(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "0.5")
    with attempt.connect() as client:
        client.setsockopt(1, 8, 1024)  # SOL_SOCKET, SO_RCVBUF
        assert attempt.exit()["returncode"] == 0


def test_nonsense_from_a_consumer_that_died_during_a_message_is_harmless(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "0.5")
    with attempt.connect() as client:
        client.send(b'{"op": "st')
    assert attempt.exit()["returncode"] == 0


# -- fences and locks -------------------------------------------------------------------------------------------------


def test_a_fenced_attempt_starts_nothing(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "echo started", fenced=True)
    wait_for(lambda: process_tree.stat_of(attempt.pid) is None, 5.0, "the guardian's end")
    assert not attempt.log.exists()
    assert attempt.folder.record() is None
    assert attempt.folder.exit_record() is None


def test_a_second_guardian_on_the_same_folder_does_nothing(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "echo started; exec sleep 60")
    engine = attempt.engine()
    wait_for(lambda: attempt.log.exists() and attempt.log.read_text(), 5.0)
    second = spawning.client.spawn_guardian(attempt.folder.path)
    wait_for(lambda: process_tree.stat_of(second) is None, 5.0, "the second guardian's end")
    assert attempt.log.read_text() == "started\n"
    assert attempt.engine() == engine
    assert process_tree.is_alive(engine)
    attempt.stop()
    attempt.exit()


def test_a_fence_shows_whether_a_guardian_was_first(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "60")
    attempt.engine()
    assert attempt.folder.guardian_lives()
    assert not attempt.folder.fence()
    attempt.stop()
    attempt.exit()
    wait_for(lambda: not attempt.folder.guardian_lives(), 5.0)
    assert attempt.folder.fence()


# -- dead guardians and spawners --------------------------------------------------------------------------------------


def test_the_tree_of_a_killed_guardian_is_gone_within_a_second(spawning: Spawner, all_gone: AllGone) -> None:
    attempt = spawning.guard(*HARD_TREE)
    members = attempt.members()
    os.kill(attempt.pid, signal.SIGKILL)
    assert all_gone(members, 5.0) < 1.0
    assert spawning.client.wait_for_orphans()
    assert attempt.folder.exit_record() is None


def test_after_settling_nothing_of_dead_guardians_is_left_and_the_living_continue(spawning: Spawner) -> None:
    dead = [spawning.guard(*HARD_TREE) for _ in range(4)]
    living = spawning.guard("sleep", "60")
    members = [member for attempt in dead for member in attempt.members()]
    engine = living.engine()
    for attempt in dead:
        os.kill(attempt.pid, signal.SIGKILL)
    for attempt in dead:
        wait_for(lambda one=attempt: not one.folder.guardian_lives(), 5.0, "the guardian's end")
    assert spawning.client.wait_for_orphans()
    assert not any(process_tree.is_alive(member) for member in members)
    assert process_tree.is_alive(engine)
    living.stop()
    assert living.exit()["stop_reason"] == "cancel"


def test_guardians_outlive_a_killed_spawner(spawning: Spawner, all_gone: AllGone) -> None:
    attempt = spawning.guard(*HARD_TREE)
    members = attempt.members()
    spawning.process.kill()
    spawning.process.wait(5)
    with attempt.connect() as client:
        assert json.loads(client.recv(65536).splitlines()[0])["event"] == "hello"
    assert all(process_tree.is_alive(member) for member in members)
    attempt.stop()
    assert attempt.exit()["stop_reason"] == "cancel"
    all_gone(members, 0.1)


def test_a_spawner_ends_with_its_supervisor_and_its_guardians_continue(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "60")
    engine = attempt.engine()
    assert spawning.process.stdin is not None
    spawning.process.stdin.close()
    assert spawning.process.wait(5) == 0
    assert process_tree.is_alive(engine)
    attempt.stop()
    attempt.exit()


def test_an_engine_does_not_start_when_its_guardian_was_killed_before_it_could_say_who_it_is(tmp_path: Path) -> None:
    # The guardian's own start, in a process that is killed where it would write its record.
    script = f"""
import os, signal, sys
from qmrunner.guardian import process as guardian
guardian.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
guardian.run_guardian(os.open({str(tmp_path / "attempts/1")!r}, os.O_RDONLY | os.O_DIRECTORY))
"""
    from tests.processes import Attempt

    attempt = Attempt(tmp_path, 1, ("sh", "-c", "echo started"))
    # A shell above it, so that the orphan falls to init and is not waited for here.
    ended = subprocess.run([sys.executable, "-c", script], timeout=10)
    assert ended.returncode == -signal.SIGKILL
    wait_for(lambda: not process_tree.marked(attempt.marker), 5.0)
    wait_for(lambda: not attempt.folder.guardian_lives(), 5.0)  # the forked engine shares the lock until it ends
    assert attempt.log.read_text() == ""


# -- usage and log ----------------------------------------------------------------------------------------------------


def test_usage_is_that_of_the_whole_tree(spawning: Spawner) -> None:
    burn = (
        "import time\nend = time.process_time() + 0.5\nx = bytearray(60 << 20)\nwhile time.process_time() < end: pass"
    )
    write = "open('big', 'wb').write(b'x' * (8 << 20))"
    attempt = spawning.guard("sh", "-c", f'{sys.executable} -c "{burn}" & {sys.executable} -c "{write}"; wait')
    record = attempt.exit()
    assert record["returncode"] == 0
    assert 0.4 < record["cpu_s"] < 2.0
    assert 60 < record["peak_rss_mib"] < 250
    assert 7.9 < record["peak_scratch_mib"] < 9
    assert record["wall_s"] > 0.4
    assert record["ended_at"] > record["started_at"]
    assert record["disk_full"] is False


def test_usage_is_reported_while_it_runs(spawning: Spawner) -> None:
    attempt = spawning.guard(sys.executable, "-c", "while True: pass")
    with attempt.connect() as client:
        heard = b""
        while heard.count(b'"usage"}') + heard.count(b'"event": "usage"') < 2:
            heard += client.recv(65536)
    told = [json.loads(line) for line in heard.splitlines() if b'"event": "usage"' in line][-1]
    usage = told["usage"]
    assert usage["cpu_s"] > 0
    assert usage["processes"] == 1
    ((pid, name, state, cpu_s),) = told["tree"]
    assert (pid, state) == (attempt.engine().pid, "R")
    assert name.startswith("python")
    assert 0 < cpu_s <= usage["cpu_s"]
    assert 0 < told["at_s"] <= time.monotonic()
    attempt.stop(grace_s=0.0)
    attempt.exit()


def test_the_log_has_its_blocks_before_it_has_its_bytes_and_gives_the_rest_back(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "echo hello; exec sleep 60", preallocate_bytes=4 << 20)
    attempt.engine()
    wait_for(lambda: attempt.log.read_text() == "hello\n", 5.0)
    if attempt.log.stat().st_blocks * 512 < 4 << 20:
        pytest.skip("this filesystem does not preallocate")
    attempt.stop(grace_s=0.0)
    attempt.exit()
    found = attempt.log.stat()
    assert (found.st_size, found.st_blocks * 512 <= 8192) == (6, True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("only root can mount a small filesystem")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with open(path, "wb", buffering=0) as hog:
        try:
            while True:
                hog.write(bytes(64 << 10))
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                raise


def test_a_disk_that_fills_up_does_not_cut_the_log_within_its_reserve(spawning: Spawner, small_disk: Path) -> None:
    log = small_disk / "engine.log"
    code = "import sys\nsys.stdin.readline()\nfor i in range(30000): print(f'line {i:06d} ' + 'x' * 60)"
    go = spawning.root / "go"
    os.mkfifo(go)
    attempt = spawning.guard(
        "sh", "-c", f'{sys.executable} -c "{code}" < {quote(str(go))}', log=str(log), preallocate_bytes=4 << 20
    )
    attempt.engine()
    fill(small_disk / "hog")
    go.write_text("go\n")
    record = attempt.exit()
    assert record["returncode"] == 0
    assert record["disk_full"] is True
    lines = log.read_text().splitlines()
    assert lines == [f"line {i:06d} {'x' * 60}" for i in range(30000)]


def test_an_attempt_folder_may_have_a_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    started = Spawner(deep)
    try:
        attempt = started.guard("sleep", "60")
        attempt.stop()
        assert attempt.exit()["stop_reason"] == "cancel"
    finally:
        started.close()


def test_identities_are_those_of_the_processes(spawning: Spawner) -> None:
    attempt = spawning.guard("sleep", "60")
    engine = attempt.engine()
    assert attempt.folder.guardian_identity() == process_tree.identity_of(attempt.pid)
    wait_for(lambda: (stat := process_tree.stat_of(engine.pid)) and stat.comm == "sleep", 5.0)
    assert process_tree.marked(attempt.marker) == {engine.pid: attempt.marker}
    attempt.stop()
    attempt.exit()


def test_an_engine_dies_with_its_guardian_even_where_no_process_is_left_to_end_it(
    spawning: Spawner, all_gone: AllGone
) -> None:
    """Between its fork and its exec it looks like a guardian and has no mark: no search could find it."""
    attempt = spawning.guard("sleep", "300")
    engine, keeper = attempt.engine(), attempt.folder.guardian_identity()
    assert keeper is not None
    spawning.process.kill()
    spawning.process.wait(5)
    assert process_tree.is_alive(engine)
    process_tree.send(keeper, signal.SIGKILL)
    all_gone([keeper, engine])
