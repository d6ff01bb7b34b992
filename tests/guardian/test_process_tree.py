"""Reading `/proc`: names that lie, pids that are used again, environments that are searched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity, parse_stat
from tests.support import wait_for

NUMBERS = st.integers(min_value=0, max_value=2**63 - 1)
# The kernel keeps 15 bytes of a name; anything but NUL can be in it.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=15)


@given(comm=NAMES, state=st.sampled_from("RSDZTtXI"), pid=NUMBERS, numbers=st.lists(NUMBERS, min_size=49, max_size=49))
def test_a_stat_line_is_read_whatever_the_name_is(comm: str, state: str, pid: int, numbers: list[int]) -> None:
    found = parse_stat(f"{pid} ({comm}) {state} {' '.join(map(str, numbers))}\n")
    assert (found.pid, found.comm, found.state, found.ppid) == (pid, comm, state, numbers[0])
    assert (found.utime, found.stime, found.cutime, found.cstime) == tuple(numbers[10:14])
    assert (found.start_ticks, found.rss_pages) == (numbers[18], numbers[20])


@pytest.mark.parametrize("name", ["a) R 1 (b", ") (", "x y z", "(((", ") S 1 1 1", "a\nb"])
def test_a_process_with_a_hostile_name_is_read_as_it_is(name: str) -> None:
    code = f"import ctypes, time\nctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)\nprint('named', flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", code + "time.sleep(60)"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            found = process_tree.stat_of(process.pid)
            assert found is not None
            assert (found.comm, found.ppid) == (name, os.getpid())
            assert process.pid in process_tree.children_of(os.getpid())
            identity = process_tree.identity_of(process.pid)
            assert identity is not None
            assert process_tree.is_alive(identity)
        finally:
            process.kill()


@pytest.mark.parametrize("text", ["", "12", "12 (name", "12 (name) S", "x (name) S 1 2 3", "12 (name) S a b c"])
def test_a_torn_stat_line_is_refused(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_stat(text)


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


def identity(process: subprocess.Popen[bytes]) -> Identity:
    found = process_tree.identity_of(process.pid)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "other",
    [{"start_ticks": 1}, {"boot_id": "another-boot"}, {"pid_ns": "pid:[1]"}],
    ids=["recycled pid", "another boot", "another pid namespace"],
)
def test_a_stranger_under_the_same_pid_is_never_signalled(sleeper: subprocess.Popen[bytes], other: dict) -> None:
    stranger = identity(sleeper)._replace(**other)
    assert not process_tree.is_alive(stranger)
    assert process_tree.open_pidfd(stranger) is None
    assert not process_tree.send(stranger, signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        one = identity(process)
        assert process_tree.is_alive(one)
        assert process_tree.send(one, signal.SIGKILL)
        wait_for(lambda: (stat := process_tree.stat_of(process.pid)) and stat.state == "Z")
        assert not process_tree.is_alive(one)
        assert not process_tree.send(one, signal.SIGKILL)
    assert process_tree.identity_of(process.pid) is None


def test_the_marker_is_found_by_its_whole_name_and_value() -> None:
    value = uuid.uuid4().hex
    wanted = {process_tree.MARKER: value}
    near = [
        {f"X{process_tree.MARKER}": value},
        {process_tree.MARKER: f"{value}9"},
        {"A": f"{process_tree.MARKER}={value}"},
    ]
    environments = [wanted, {"FIRST": "1", **wanted, "LAST": "2"}, *near]
    processes = [subprocess.Popen(["/bin/sleep", "60"], env=one) for one in environments]
    try:
        wait_for(lambda: len(process_tree.marked(value)) == 2)
        assert set(process_tree.marked(value)) == {process.pid for process in processes[:2]}
        assert process_tree.marked()[processes[3].pid] == f"{value}9"
        assert process_tree.end_marked(value)
        for process in processes[:2]:
            assert process.wait(5) == -signal.SIGKILL
        assert [process.poll() for process in processes[2:]] == [None] * 3
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_descendants_come_parents_first_and_across_sessions() -> None:
    with subprocess.Popen(["sh", "-c", "sh -c 'setsid sleep 60 & wait' & wait"]) as process:
        try:
            found = wait_for(lambda: [s for s in process_tree.descendants(process.pid) if s.comm == "sleep"])
            below = process_tree.descendants(process.pid)
            seen = {process.pid}
            for stat in below:
                assert stat.ppid in seen
                seen.add(stat.pid)
            assert found[0].pid in seen
        finally:
            process_tree.signal_tree(process.pid, signal.SIGKILL)
            process.kill()
