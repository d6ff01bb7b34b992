"""What an engine did to its folder, its log or its results, against the daemon that comes after it.

A stand-in engine waits at a gate while that is done; every case ends in an outcome with a code, after few attempts, and
leaves both slots of the daemon at work.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from tests.lifecycle.lab import STAND_IN, Lab, kill
from tests.sampling import share
from tests.support import Daemon, Home, wait_for

_LARGEST_CONSUMER_MIB = 260


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", {"QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(tmp_path / "gate")})


@pytest.fixture
def lab(home: Home, daemon: Callable[..., Daemon]) -> Iterator[Lab]:
    opened = Lab(home, daemon)
    try:
        yield opened
    finally:
        opened.close()


def moved(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.moved"))


def link_to_secret(path: Path) -> None:
    _remove(path)
    path.symlink_to("/etc/shadow")


def link_elsewhere(path: Path) -> None:
    moved(path)
    path.symlink_to(path.with_name(f"{path.name}.moved"))


def pipe(path: Path) -> None:
    _remove(path)
    os.mkfifo(path)


def folder(path: Path) -> None:
    _remove(path)
    path.mkdir()


def bound(path: Path) -> None:
    _remove(path)
    with socket.socket(socket.AF_UNIX) as one:
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        one.bind(f"/proc/self/fd/{handle}/{path.name}")
        os.close(handle)


def dangling(path: Path) -> None:
    _remove(path)
    path.symlink_to("nowhere")


def regular(path: Path) -> None:
    _remove(path)
    path.write_text("no folder")


def hollow(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(3 << 30)


def odd_names(path: Path) -> None:
    """Beside the results: names that break lines, command a terminal, are no text, or begin a formula."""
    for name in (
        b"a\nb",
        b"\x1b[31mred",
        b"\xff\xfe",
        "\u202etxt.exe".encode(),
        b"=cmd|' C calc'!A0",
        b"-rf",
        b" ",
        b"a\\b",
    ):
        with open(os.path.join(os.fsencode(path), name), "wb") as file:
            file.write(b"x")


def deep(path: Path) -> None:
    """1,000 folders within each other, longer than any path may be."""
    at = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1000):
        os.mkdir("folder-in-a-folder", dir_fd=at)
        inner = os.open("folder-in-a-folder", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def many(path: Path) -> None:
    for number in range(5000):
        (path / f".file-{number}").write_bytes(b"x")


def growing(path: Path) -> None:
    """Another process keeps writing into a result while it is published."""
    script = (
        "import os, sys, time\nif os.fork():\n os._exit(0)\nwith open(sys.argv[1], 'ab', buffering=0) as file:\n"
        + (" for _ in range(1000):\n  file.write(b'0.1\\n' * 9)\n  time.sleep(0.01)")
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Case:
    """`what` becomes of the path `where` below the attempt's folder; a leading `/` means the logs of the job."""

    where: str
    what: Callable[[Path], object]
    code: str


CASES: dict[str, Case] = {
    # The attempt's folder: tried again, and then that is enough.
    "the attempt removed": Case(".", _remove, "attempt_folder_lost"),
    "the step removed": Case("..", _remove, "attempt_folder_lost"),
    "the job removed": Case("../..", _remove, "attempt_folder_lost"),
    "the attempt moved": Case(".", moved, "attempt_folder_lost"),
    "the attempt a link": Case(".", link_elsewhere, "attempt_folder_lost"),
    "the attempt a pipe": Case(".", pipe, "attempt_folder_lost"),
    "the attempt a file": Case(".", regular, "attempt_folder_lost"),
    "work removed": Case("work", _remove, "attempt_folder_lost"),
    "work a link": Case("work", link_elsewhere, "attempt_folder_lost"),
    "work a pipe": Case("work", pipe, "attempt_folder_lost"),
    "work a file": Case("work", regular, "attempt_folder_lost"),
    # The log.
    "the log removed": Case("/log", _remove, "log_lost"),
    "the log moved": Case("/log", moved, "log_lost"),
    "the log a link": Case("/log", link_to_secret, "log_lost"),
    "the log a dangling link": Case("/log", dangling, "log_lost"),
    "the log a pipe": Case("/log", pipe, "log_lost"),
    "the log a folder": Case("/log", folder, "log_lost"),
    "the log a socket": Case("/log", bound, "log_lost"),
    "the logs of the job removed": Case("/", _remove, "log_lost"),
    "the logs of the job a link": Case("/", link_elsewhere, "log_lost"),
    # Results that are none.
    "a result of holes": Case("work/charges", hollow, "ok"),  # left out, with a note
    "a result that is a link": Case("work/charges", link_to_secret, "result_refused"),
    "a result that is a pipe": Case("work/charges", pipe, "result_refused"),
    "a result that is a folder": Case("work/charges", folder, "result_refused"),
    "a result that grows": Case("work/charges", growing, "ok"),
    # What is no result is not taken for one, and is harmless.
    "another name that is a link": Case("work/wbo", link_to_secret, "ok"),
    "another name that is a pipe": Case("work/wbo", pipe, "ok"),
    "another name that is a folder": Case("work/xtbopt.xyz", folder, "ok"),
    "a hollow file that is no result": Case("work/sparse", hollow, "ok"),
    "names that are no text": Case("work", odd_names, "ok"),
    "1,000 folders": Case("work", deep, "ok"),
    "5,000 hidden files": Case("work", many, "ok"),
    # Our own files beside the work folder.
    "the exit record a folder": Case("exit.json", folder, "ok"),
    "the exit record a pipe": Case("exit.json", pipe, "ok"),
    "the exit record a link": Case("exit.json", dangling, "ok"),
    "the guardian's record removed": Case("guardian.json", _remove, "ok"),
    "the guardian's record a pipe": Case("guardian.json", pipe, "ok"),
    "the lock removed": Case("guardian.lock", _remove, "ok"),
    "the lock a pipe": Case("guardian.lock", pipe, "ok"),
    "the socket a pipe": Case("guardian.sock", pipe, "ok"),
    "the pace a pipe": Case("pace.json", pipe, "ok"),
    "the pace a link": Case("pace.json", link_to_secret, "ok"),
}


def spoil(lab: Lab, job: str, case: Case, number: int) -> None:
    """Do to an attempt what the case does, once its engine runs."""
    if case.where.startswith("/"):
        logs = lab.home.settings.logs_root / job
        path = logs / f"xtb.{number}.log" if case.where == "/log" else logs
    else:
        attempt = lab.home.settings.scratch_root / job / "xtb" / str(number)
        path = Path(os.path.normpath(attempt / case.where))
    case.what(path)


def spoil_all(lab: Lab, job: str, case: Case) -> None:
    """Each attempt as it comes, until the job has ended: the next one is no better than the first."""
    done = 0

    def ended() -> bool:
        nonlocal done
        running = [number for number, state, _ in lab.attempts(job) if state == "running"]
        if running and running[0] > done:
            done = running[0]
            spoil(lab, job, case, done)
            if case.code not in ("attempt_folder_lost", "log_lost"):
                lab.open_gate()
        return lab.state(job) in ("succeeded", "failed", "held")

    wait_for(ended, 40.0, f"the end of {job}: {lab.attempts(job)}")


@pytest.mark.parametrize("name", share(CASES, 6))
def test_whatever_an_engine_does_comes_to_an_outcome(lab: Lab, name: str) -> None:
    case = CASES[name]
    running = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    spoil_all(lab, job, case)
    step = lab.step(job)
    assert lab.attempts(job)[-1][2] == case.code, (step, lab.attempts(job))
    assert lab.state(job) == ("succeeded" if case.code == "ok" else "failed")
    assert len(lab.attempts(job)) <= 3
    assert not process_tree.is_alive(engine)
    wait_for(lambda: not lab.marked(job), 5.0, "no process of it left")
    assert lab.reserved() == 0
    if case.code != "ok":
        assert step.evidence
        assert step.remedy
    published = lab.home.settings.jobs_root / job
    assert sum(path.lstat().st_blocks for path in published.rglob("*")) * 512 < 1 << 20
    shadow = Path("/etc/shadow").read_bytes()
    assert not any(path.read_bytes() == shadow for path in published.rglob("*") if path.is_file())
    # Both slots, the beat and the tee are alive.
    lab.open_gate()
    others = [lab.submit(seconds=0) for _ in range(3)]
    assert {lab.ended(other) for other in others} == {"succeeded"}
    assert running.told("step_ended", others[-1])
    assert shadow.split(b"\n")[0].decode() not in running.text()
    assert _resident_mib(lab.child("consumer")) < _LARGEST_CONSUMER_MIB


def _resident_mib(process: Identity) -> float:
    stat = process_tree.stat_of(process.pid)
    assert stat is not None
    return stat.rss_pages * process_tree.PAGE_BYTES / 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", share(["the attempt removed", "work a pipe", "the log a pipe", "the log a link"], 2))
def test_a_consumer_that_starts_meanwhile_comes_to_the_same_outcome(lab: Lab, name: str) -> None:
    """The next consumer adopts what it finds."""
    case = CASES[name]
    lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    consumer = lab.child("consumer")
    os.kill(consumer.pid, 19)
    spoil(lab, job, case, 1)
    kill(consumer)
    spoil_all(lab, job, case)
    assert case.code in [code for _, _, code in lab.attempts(job)]
    assert len(lab.attempts(job)) <= 4
    assert not process_tree.is_alive(engine)
    wait_for(lambda: not lab.marked(job), 5.0, "no process of it left")


@pytest.mark.slow
def test_a_line_of_a_gibibyte_costs_the_daemon_little(lab: Lab, home: Home) -> None:
    """`chat` with no line ends."""
    script = home.path.parent / "long"
    script.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then exec ' + f"{STAND_IN} --version; fi\n"
        "head -c 1G /dev/zero | tr '\\0' y; echo\n"
        f'exec {STAND_IN} "$@"\n'
    )
    script.chmod(0o755)
    home.extra["QMRUNNER_XTB"] = str(script)
    lab.start()
    job = lab.submit(seconds=0)
    most = 0.0

    def over() -> bool:
        nonlocal most
        most = max(most, _resident_mib(lab.child("consumer")))
        return lab.state(job) in ("succeeded", "failed")

    wait_for(over, 60.0, f"the end of {job}")
    assert lab.state(job) == "succeeded", lab.step(job)
    assert most < _LARGEST_CONSUMER_MIB
