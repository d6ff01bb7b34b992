"""A consumer ends a supervisor that hangs, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# The supervisor: starts its consumer, then does `{does}` and leaves with status 0. Ten looks of silence are 2 s.
SUPERVISOR = """
import os, signal, subprocess, sys, time
line = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert line.stdout.readline() == b"watching\\n"
def pulse():
    line.stdin.write(b".")
    line.stdin.flush()
{does}
"""
CONSUMER = """
import os, threading
from qmrunner.guardian import process_tree
from qmrunner.worker.supervisor_watch import SupervisorWatch
lifeline = SupervisorWatch(0, process_tree.identity_of(os.getppid()), poll_s=0.2)
{rests}
lifeline.start()
print("watching", flush=True)
threading.Event().wait()
"""


def supervised(does: str, rests: str = "") -> int:
    """The exit status of the supervisor."""
    argv = [sys.executable, "-c", SUPERVISOR.format(does=does), CONSUMER.format(rests=rests)]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=60).returncode


@pytest.mark.parametrize("does", ["os.kill(os.getpid(), signal.SIGSTOP)", "time.sleep(50)"], ids=["frozen", "stuck"])
def test_a_supervisor_that_stalls_is_ended(does: str) -> None:
    assert supervised(does) == -signal.SIGKILL


def test_a_supervisor_that_goes_round_lives() -> None:
    assert supervised("for _ in range(400):\n    pulse()\n    time.sleep(0.01)") == 0


def test_while_the_daemon_stops_silence_means_nothing() -> None:
    assert supervised("time.sleep(4)", rests="lifeline.ignore_silence()") == 0
