"""The end of a task's process: what Python's own end does for threads and reports, and nothing that it would not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT

_END = """
import os
from qmrunner.apps.side import background
background._FINISH_S = {seconds}
{body}
background.finish()
os._exit(0)
"""
_POOL = "from concurrent.futures import {0}\npool = {0}(1)\n"
# What a task leaves in its process, and what it must have printed before that ends.
IDLE = {
    "threads": (_POOL.format("ThreadPoolExecutor") + "pool.submit(abs, 1).result()", ""),
    "processes": (_POOL.format("ProcessPoolExecutor") + "pool.submit(abs, 1).result()", ""),
    "loop": (
        "import asyncio\nloop = asyncio.new_event_loop()\nloop.run_until_complete(loop.run_in_executor(None, abs, 1))",
        "",
    ),
    "work": (
        _POOL.format("ThreadPoolExecutor")
        + "import time\npool.submit(lambda: (time.sleep(0.3), print('done', flush=True)))",
        "done\n",
    ),
    "thread": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.3), print('done', flush=True))).start()",
        "done\n",
    ),
    "order": (
        "import atexit, threading, time\natexit.register(print, 'exit', flush=True)\n"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('thread', flush=True))).start()",
        "thread\nexit\n",
    ),
}
_STUCK = {
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
    "work": _POOL.format("ThreadPoolExecutor") + "import time\npool.submit(time.sleep, 600)",
}


def run(body: str, seconds: float) -> tuple[str, float]:
    """What a process printed that left this, and how long it took."""
    began = time.monotonic()
    code = _END.format(seconds=seconds, body=body)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, time.monotonic() - began


@pytest.mark.parametrize("left", IDLE)
def test_nothing_that_is_idle_delays_the_end_of_a_task(left: str) -> None:
    body, expected = IDLE[left]
    printed, took_s = run(body, 40.0)
    assert printed == expected
    assert took_s < 20.0


@pytest.mark.parametrize("left", _STUCK)
def test_what_does_not_end_is_left_behind_and_reports_are_sent(left: str, tmp_path: Path) -> None:
    mark = tmp_path / "sent"
    body = f"import atexit\natexit.register(open, {str(mark)!r}, 'w')\n{_STUCK[left]}"
    _, took_s = run(body, 0.5)
    assert mark.exists()
    assert took_s < 20.0
