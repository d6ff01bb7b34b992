"""Commands in processes that begin with the program already loaded.

Most of a short command is the start of Python and the import of what it needs, and the tests run hundreds of them.
Here a server loads that once and forks for each: each is still a separate process, with its own variables, folder,
output and exit status. What a fresh interpreter loads is the subject of `test_imports`, and daemons are started the way
users start them.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parents[1]
# Without numpy and RDKit: they start threads, which a fork would lose.
_LOADED = (
    "alembic.command",
    "rich.console",
    "rich.table",
    "sqlalchemy.dialects.sqlite",
    "qmrunner.app",
    "qmrunner.cli.actions",
    "qmrunner.cli.main",
    "qmrunner.cli.program",
    "qmrunner.cli.status",
    "qmrunner.cli.submit",
    "qmrunner.store.schema",
    "qmrunner.reports.status",
)
_MESSAGE_BYTES = 1 << 17


class Commands:
    """The client: `run` is `subprocess.run` of `python -m qmrunner`, captured and as text. The server ends with us."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qmfork-")
        self._path = str(Path(self._folder.name, "socket"))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.prefork", self._path],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"
        atexit.register(self._end)

    def _end(self) -> None:
        self._server.communicate()  # closes its standard input, which it ends with
        self._folder.cleanup()

    def run(
        self, args: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            connection.settimeout(timeout_s)
            connection.connect(self._path)
            request = json.dumps({"args": list(args), "cwd": str(cwd), "env": dict(env)}).encode()
            assert len(request) <= _MESSAGE_BYTES
            socket.send_fds(connection, [request], [out.fileno(), err.fileno()])
            pid = int(connection.recv(64))
            try:
                status = int(connection.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(args), timeout_s) from None
            out.seek(0)
            err.seek(0)
            code = os.waitstatus_to_exitcode(status)
            return subprocess.CompletedProcess(list(args), code, out.read().decode(), err.read().decode())


_commands: Commands | None = None
_lock = Lock()


def commands() -> Commands:
    """The one server of this test run, started on first use."""
    global _commands
    with _lock:
        _commands = _commands or Commands()
        return _commands


# -- the server -------------------------------------------------------------------------------------------------------


def serve(path: str) -> None:
    """Until standard input is closed. Returns in the process of each command, which is that command's by then."""
    for name in _LOADED:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process collects the intermediate ones
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    while listener in select.select([listener, 0], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _carry(connection)
            return
        connection.close()
    os._exit(0)


def _carry(connection: socket.socket) -> None:
    """Fork once more; report how that process ends. Returns in it alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 2)
    request = json.loads(message)
    pid = os.fork()
    if pid:
        connection.send(str(pid).encode())
        connection.send(str(os.waitpid(pid, 0)[1]).encode())
        os._exit(0)
    connection.close()
    null = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in enumerate([null, *descriptors]):
        os.dup2(theirs, ours)
        os.close(theirs)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["qmrunner", *request["args"]]


if __name__ == "__main__":
    serve(sys.argv[1])
    from qmrunner.cli.main import main

    sys.modules["__main__"].__package__ = ""  # or its usage would call the program by our name
    main()
