"""The hang report: states, wait channels and stacks of a hung process tree, written before the tree is ended."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from qmrunner import untrusted
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Stat

# Fields of `/proc/PID/status` that distinguish a wait from a loop.
_STATUS = ("State", "Threads", "VmRSS", "VmSwap", "SigPnd", "ShdPnd", "SigBlk", "SigCgt", "voluntary_ctxt_switches")
_THREADS, _PROCESSES = 16, 64
_STACKS_OF, _PROGRAM_LIMIT_S, _ALL_LIMIT_S = 4, 8.0, 20.0
_POLL_S = 0.05
_OUTPUT_BYTES = 64 << 10


def write_report(path: Path, first_line: str, root: int, hurry: Callable[[], bool]) -> None:
    """Write `first_line` and the output of /proc, gdb and py-spy for the processes below `root` to `path`.

    The first line and /proc are on disk before a debugger runs, because a debugger may be slow. Debuggers get
    `_ALL_LIMIT_S` seconds together, and are ended once `hurry` returns True. Raises OSError.
    """
    stats = process_tree.descendants(root)
    with io.TextIOWrapper(untrusted.create(path), "utf-8", errors="replace") as file:
        file.write(f"{first_line}\n\n")
        for line in _process_lines(stats):
            file.write(line + "\n")
        file.flush()
        for block in _stacks(stats, hurry):
            file.write(block + "\n")
            file.flush()


def _process_lines(stats: Sequence[Stat]) -> Iterator[str]:
    yield "pid      ppid     state  CPU s      wait channel              name"
    for proc in stats:
        cpu = (proc.utime + proc.stime) / process_tree.TICKS_PER_SECOND
        yield f"{proc.pid:<8} {proc.ppid:<8} {proc.state:<6} {cpu:<10.2f} {_wchan(proc.pid):<25} {proc.comm}"
    for proc in stats[:_PROCESSES]:
        yield from _details(proc)


def _details(proc: Stat) -> Iterator[str]:
    yield f"\n== process {proc.pid} ({proc.comm})"
    yield f"command: {_read(f'/proc/{proc.pid}/cmdline').replace(chr(0), ' ').strip()}"
    for line in _read(f"/proc/{proc.pid}/status").splitlines():
        if line.split(":")[0] in _STATUS:
            yield line
    yield f"system call: {_read(f'/proc/{proc.pid}/syscall').strip() or 'not readable'}"
    threads = _names(f"/proc/{proc.pid}/task")
    for thread in threads[:_THREADS]:
        stat = process_tree.stat_of(int(thread))
        if stat is not None and len(threads) > 1:
            yield f"thread {thread} ({stat.comm}): state {stat.state}, waits in {_wchan(int(thread))}"
    stack = _read(f"/proc/{proc.pid}/stack").strip()
    yield f"kernel stack:\n{stack}" if stack else "kernel stack: not readable (needs privileges)"


def _wchan(pid: int) -> str:
    channel = _read(f"/proc/{pid}/wchan").strip()
    return "-" if channel in ("", "0") else channel


def _stacks(stats: Sequence[Stat], hurry: Callable[[], bool]) -> Iterator[str]:
    """Stacks of the processes that used most CPU, if a debugger is installed."""
    end = time.monotonic() + _ALL_LIMIT_S
    gdb, spy = shutil.which("gdb"), shutil.which("py-spy")
    if gdb is None and spy is None:
        yield "\nstacks: neither gdb nor py-spy is installed"
        return
    living = [proc for proc in stats if proc.state not in "ZX"]
    for proc in sorted(living, key=lambda stat: stat.utime + stat.stime, reverse=True)[:_STACKS_OF]:
        argv = _stack_argv(proc, gdb, spy)
        if argv is None:
            continue
        limit_s = min(_PROGRAM_LIMIT_S, end - time.monotonic())
        if limit_s <= 0 or hurry():
            yield f"\n== stack of process {proc.pid} ({proc.comm}): no time was left"
            continue
        yield f"\n== stack of process {proc.pid} ({proc.comm}), by {Path(argv[0]).name}\n{_run(argv, limit_s, hurry)}"


def _stack_argv(proc: Stat, gdb: str | None, spy: str | None) -> list[str] | None:
    if spy is not None and proc.comm.startswith("python"):
        return [spy, "dump", "--nonblocking", "--pid", str(proc.pid)]
    if gdb is None:
        return None
    return [
        *(gdb, "--batch", "--nx", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off"),
        *("-ex", "thread apply all backtrace 40", "-p", str(proc.pid)),
    ]


def _run(argv: Sequence[str], limit_s: float, hurry: Callable[[], bool]) -> str:
    """The output of a program that gets `limit_s` seconds; a truncated output is marked."""
    out, into = os.pipe()
    os.set_blocking(out, False)
    try:
        debugger = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=into, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as problem:
        os.close(out)
        return f"cannot be run: {problem}"
    finally:
        os.close(into)
    end = time.monotonic() + limit_s
    output = b""
    with os.fdopen(out, "rb", buffering=0) as pipe:
        while debugger.poll() is None and time.monotonic() < end and not hurry():
            output += pipe.read(_OUTPUT_BYTES) or b""
            time.sleep(_POLL_S)
        cut = debugger.poll() is None
        if cut:
            debugger.kill()
        debugger.wait()
        output += pipe.read(_OUTPUT_BYTES) or b""
    text = output[-_OUTPUT_BYTES:].decode(errors="replace").rstrip()
    return f"{text}\n(ended after {limit_s:.0f} s)" if cut else text


def _names(path: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(path)
    return []


def _read(path: str) -> str:
    """A file of /proc; empty when it is not readable or its process has ended."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
