"""A forked program ends as one that Python starts: the same output, exit status, umask and order of what runs last."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.prefork import preforked

Ended = tuple[int, str, str]
CODE = {
    "its end": "print(__name__, 1)",
    "a status": "import sys; sys.exit(3)",
    "a status that does not fit": "import sys; sys.exit(259)",
    "a message": "import sys; print(1); sys.exit('wrong')",
    "an exception": "print(1, end=''); raise ValueError('wrong')",
    "a signal": "import os; print(1, flush=True); os.kill(os.getpid(), 9)",
    "what runs at exit": "import atexit; atexit.register(print, 'last'); print('first', end='')",
    "a thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
    "its input": "import sys; print(repr(sys.stdin.read()))",
    "its umask": "import os; print(oct(os.umask(0)))",
    "its folder and path": "import os, sys; print(os.getcwd() == os.path.abspath(sys.path[0]), sys.argv)",
    "its variables": "import os; print(os.environ['A'], os.environ.get('OPENBLAS_NUM_THREADS'))",
    "its streams": (
        "import sys\nfor one in (sys.stdin, sys.stdout, sys.stderr):\n"
        "    print(one.line_buffering, one.write_through, type(one.buffer).__name__, one.errors, one.isatty())"
    ),
    "open files": "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:3])",
}


def started(words: list[str], folder: Path, environment: dict[str, str]) -> Ended:
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def forked(words: list[str], folder: Path, environment: dict[str, str]) -> Ended:
    ended = preforked("huey").run(words, folder, environment, 60.0)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("name", CODE)
def test_a_forked_program_ends_as_a_started_one(name: str, unbuffered: str, tmp_path: Path) -> None:
    environment = {**os.environ, "A": "é", "PYTHONUNBUFFERED": unbuffered}

    def run(how: Callable[[list[str], Path, dict[str, str]], Ended]) -> tuple[int, str, str]:
        code, out, err = how(["-c", CODE[name], "word"], tmp_path, environment)
        return code, out, err.splitlines()[-1] if err else ""

    before = os.umask(0o027)
    try:
        assert run(forked) == run(started)
    finally:
        os.umask(before)


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        preforked("huey").run(["-c", "import time; print(flush=True); time.sleep(60)"], tmp_path, os.environ, 1.0)


def test_a_running_program_is_polled_and_signalled(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        code = "import time; time.sleep(60)"
        running = preforked("huey").start(["-c", code], tmp_path, os.environ, out.fileno(), out.fileno())
    assert running.poll() is None
    running.terminate()
    assert running.wait(30) == -15
    assert running.poll() == -15
    running.kill()  # of what has ended, as Popen allows


def test_on_a_terminal_lines_are_written_at_once(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    code = "import sys, time; print(sys.stdout.isatty(), sys.stdout.line_buffering); time.sleep(60)"
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    running = preforked("huey").start(["-c", code], tmp_path, environment, theirs, theirs)
    os.close(theirs)
    assert os.read(ours, 100) == b"True True\r\n"
    running.kill()
    assert running.wait(30) == -9
    os.close(ours)
