"""Python programs in processes that begin with what they import already loaded.

Most of a short command is the start of Python and its imports, and the tests run thousands of commands. Here a server
loads that once and forks for each: each is still a separate process, with its own variables, folder, output and exit
status. Only its end differs: what Python does before a process exits runs, but objects are not taken apart one by one,
which would copy every page that the fork shares with the server. What a fresh interpreter loads is the subject of
`test_imports`; daemons are started the way users start them, and so are the servers whose processes a test looks at.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
_COMMANDS = ("alembic.command", "rich.console", "rich.table", "sqlalchemy.dialects.sqlite", "qmrunner.*")
# Rooms with large libraries, which few commands need: a fork costs more the more there is to share.
_LEFT_OUT = tuple(f"qmrunner.{room}" for room in ("api", "apps.side", "chemistry", "client", "web"))
_CHEMISTRY = ("qmrunner.chemistry.graphs", "qmrunner.chemistry.rotors", "rdkit.Chem", "rdkit.Chem.rdDistGeom")
# What each server loads. Its own environment has what it needs for that, its processes have the one they are given.
KINDS: dict[str, tuple[str, ...]] = {
    "commands": _COMMANDS,
    "submit": (*_COMMANDS, *_CHEMISTRY),
    "serve": (*_COMMANDS, "qmrunner.api.server", "qmrunner.web.site"),
    "chemistry": (*_CHEMISTRY, "qmrunner.chemistry.tasks", "qmrunner.chemistry.spectrum"),
    "huey": ("huey", "huey.bin.huey_consumer", "qmrunner.apps.side.storages"),
}
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # numpy would start more, which a fork would lose
_MESSAGE_BYTES = 1 << 17


class Running:
    """A process of a server, in the manner of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], connection: socket.socket, pid: int) -> None:
        self.args, self.pid = list(words), pid
        self.returncode: int | None = None
        self._connection = connection

    def wait(self, timeout_s: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout_s)
            try:
                status = self._connection.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout_s or 0.0) from None
            self._connection.close()
            self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Preforked:
    """The client of one server, which all workers of a test run share. It ends with that run."""

    def __init__(self, kind: str) -> None:
        run, owner = os.environ.get("PYTEST_XDIST_TESTRUNUID"), os.getppid()
        if run is None:
            run, owner = f"{os.getpid()}", os.getpid()
        folder = Path(tempfile.gettempdir(), f"qmfork-{run[:12]}")
        folder.mkdir(0o700, exist_ok=True)
        self._path = str(folder / kind)
        with open(folder / f"{kind}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(self._path):
                self._begin(kind, owner)

    def _begin(self, kind: str, owner: int) -> None:
        command = [sys.executable, "-m", "tests.prefork", self._path, kind, str(owner)]
        # Ends when the server, its child, is ready.
        subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **_ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def start(self, words: Sequence[str], cwd: Path, env: Mapping[str, str], out: int, err: int) -> Running:
        """`python WORDS`, which begin with `-m MODULE` or `-c CODE`; standard input is empty."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(self._path)
            asked = {"words": list(words), "cwd": str(cwd), "env": dict(env), "umask": _umask()}
            request = json.dumps(asked).encode()
            assert len(request) <= _MESSAGE_BYTES
            socket.send_fds(connection, [request], [out, err])
            return Running(words, connection, int(connection.recv(64)))
        except BaseException:
            connection.close()
            raise

    def run(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run`, captured and as text."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            running = self.start(words, cwd, env, out.fileno(), err.fileno())
            try:
                code = running.wait(timeout_s)
            finally:
                if running.returncode is None:
                    running.kill()
                    running.wait()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(list(words), code, out.read().decode(), err.read().decode())


def _umask() -> int:
    """Ours, which a process started by us would have. Reading it by `os.umask` would change it for a moment."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("\nUmask:")[2].split()[0], 8)


_servers: dict[str, Preforked] = {}
_lock = threading.Lock()


def preforked(kind: str) -> Preforked:
    """The server of this test run for such programs, started on first use."""
    with _lock:
        if kind not in _servers:
            _servers[kind] = Preforked(kind)
        return _servers[kind]


def kind_of(command: Sequence[str]) -> str:
    """The server for `qmrunner COMMAND`."""
    return command[0] if command and command[0] in ("submit", "serve") else "commands"


# -- the server -------------------------------------------------------------------------------------------------------


def serve(path: str, kind: str, owner: int) -> None:
    """Until the process `owner` ends. Returns in the process of each program, which is that program's by then."""
    end = os.pidfd_open(owner)
    for name in _modules(KINDS[kind]):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    if os.fork():
        os._exit(0)
    os.setsid()
    poll, running = select.poll(), dict[int, tuple[int, socket.socket]]()  # by the descriptor of the process
    for descriptor in (end, listener.fileno()):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == end:
                shutil.rmtree(os.path.dirname(path), ignore_errors=True)
                os._exit(0)
            if descriptor == listener.fileno():
                connection = listener.accept()[0]
                message, passed, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 2)
                pid = os.fork()
                if pid == 0:
                    for one in (listener, connection, *(connection for _, connection in running.values())):
                        one.close()
                    for handle in (end, *running):
                        os.close(handle)
                    _become(json.loads(message), passed)
                    return
                for one in passed:
                    os.close(one)
                handle = os.pidfd_open(pid)
                running[handle] = pid, connection
                poll.register(handle, select.POLLIN)
                _send(connection, pid)
            else:
                poll.unregister(descriptor)
                pid, connection = running.pop(descriptor)
                os.close(descriptor)
                _send(connection, os.waitpid(pid, 0)[1])
                connection.close()


def _modules(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if not name.endswith(".*"):
            yield name
            continue
        package = importlib.import_module(name.removesuffix(".*"))
        for found in pkgutil.walk_packages(package.__path__, name.removesuffix("*")):
            if not found.name.startswith(_LEFT_OUT) and not found.name.endswith("__main__"):
                yield found.name


def _send(connection: socket.socket, number: int) -> None:
    try:
        connection.send(str(number).encode())
    except OSError:
        pass  # the test has given up


def _become(request: dict[str, Any], passed: Sequence[int]) -> None:
    """The process of one program: its descriptors, folder, variables and words."""
    null = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in enumerate([null, *passed]):
        os.dup2(theirs, ours)
        os.close(theirs)
    _open_streams(bool(request["env"].get("PYTHONUNBUFFERED")))
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = request["words"]
    sys.path[0] = request["cwd"]


def _open_streams(unbuffered: bool) -> None:
    """The standard streams as Python opens them: those of the server know what its descriptors were."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        old, raw = getattr(sys, name), io.FileIO(descriptor, "w" if descriptor else "r", closefd=False)
        binary = io.BufferedReader(raw) if descriptor == 0 else raw if unbuffered else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(
            binary,
            old.encoding,
            old.errors,
            line_buffering=not unbuffered and (descriptor == 2 or raw.isatty()),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(words: Sequence[str]) -> None:
    how, what, *rest = words
    sys.argv = ["-c" if how == "-c" else what, *rest]
    if what == "qmrunner":
        from qmrunner.cli.main import main

        sys.modules["__main__"].__package__ = ""  # or its usage would call the program by our name
        main()
    elif how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def _end(code: object) -> NoReturn:
    """What Python does when its main thread has ended, without taking its objects apart."""
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at any end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    try:
        _run(sys.argv)
    except SystemExit as left:
        _end(left.code)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)
