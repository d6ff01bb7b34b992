"""A small Huey application in its own folder, and daemons that run its tasks."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from qmrunner.guardian import process_tree
from tests.prefork import preforked
from tests.support import Daemon, Home, ended_daemons, wait_for

LAB = Path(__file__).parent / "lab"
_IMPORTS = "import json; from nmr.queue import huey; from nmr import tasks; from huey import chord"
CONSUMER = (sys.executable, "-m", "huey.bin.huey_consumer", "nmr.queue.huey", "-w", "1", "-k", "process")


class Lab:
    """The application in `folder`, and the home beside it."""

    def __init__(self, folder: Path, start: Callable[..., Daemon]) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self._start = start
        self.daemon: Daemon | None = None
        self.environment: dict[str, str] = {}
        (folder / "data").mkdir()
        for package in ("nmr", "zoo", "kinds"):
            shutil.copytree(LAB / package, folder / package)

    def start(
        self, command: Sequence[str] = CONSUMER, *, ready: bool = True, before: Sequence[str] = (), **more: str
    ) -> Daemon:
        self.daemon = self._start(on=self.home, arguments=("--", *command), ready=ready, before=before, **more)
        return self.daemon

    def enqueue(self, expression: str) -> Any:
        """What a web process does: the id of the task that `expression` enqueues."""
        return json.loads(
            self._run(
                f"r = {expression}\n"
                "print(json.dumps(r.id if hasattr(r, 'id') else [one.id for one in getattr(r, '_results', r)]))"
            )
        )

    def read(self, expression: str) -> str:
        """What a web process sees, in the storage that the environment names."""
        return self._run(f"print(repr({expression}))").strip()

    def read_result(self, huey_id: str) -> str:
        """The result of a task as text; empty when there is none yet."""
        stored = f"huey.storage.peek_data({huey_id!r})"
        found = self.read(
            f"huey.serializer.deserialize({stored}) if huey.storage.has_data_for_key({huey_id!r}) else ''"
        )
        return "" if found == "''" else found

    def module(self, name: str, *arguments: str) -> str:
        """Run a module of the application, and return what it printed."""
        return self._python("-m", name, *arguments)

    @contextmanager
    def plain(self, command: Sequence[str], output: Path) -> Iterator[None]:
        """Run the application's own command, without qmrunner. Its workers end with it: they share a process group."""
        environment = {**os.environ, **self.environment}
        with (
            open(output, "wb") as sink,
            subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=sink, stderr=sink, start_new_session=True
            ) as process,
        ):
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGKILL)

    def _run(self, code: str) -> str:
        return self._python("-c", f"{_IMPORTS}\n{code}")

    def _python(self, *arguments: str) -> str:
        ended = preforked("huey").run(arguments, self.folder, {**os.environ, **self.environment}, 90.0)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "data/huey.db", timeout=10)) as connection:
            return connection.execute(query, values).fetchall()

    def result(self, huey_id: str) -> Any:
        """The stored result; None when there is none yet. Only this test's own application wrote it."""
        rows = self.sql("select value from kv where key = ?", huey_id)
        return pickle.loads(rows[0][0]) if rows else None

    def await_result(self, huey_id: str, deadline_s: float = 40.0) -> Any:
        return wait_for(lambda: self.result(huey_id), deadline_s, f"the result of {huey_id}")

    def left(self) -> dict[str, int]:
        """How many rows are in each of the application's tables that hold messages."""
        tables = ("task", "schedule", "qmrunner_taken", "qmrunner_put")
        return {name: count for name in tables if (count := self.sql(f"select count(*) from {name}")[0][0])}

    def locks(self) -> list[str]:
        return [key for (key,) in self.sql("select key from kv where key like '%.lock.%' or key like 'qmrunner%'")]

    def lines(self, job: str, name: str = "bodies") -> list[str]:
        path = self.folder / "data/jobs" / job / name
        return path.read_text().splitlines() if path.exists() else []

    def states(self, job: str) -> list[str]:
        """What the application's signal handlers wrote, in order."""
        return [line.split(" ", 1)[1] for line in self.lines(job, "history")]

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.home.json("status")["jobs"]
        return found

    def job(self, huey_id: str) -> dict[str, Any]:
        """The job of a Huey task, by the name that the store gives it."""
        found: dict[str, Any] = self.home.json("status", huey_id)["job"]
        return found

    # -- processes --------------------------------------------------------------------------------------------------

    def pids(self, name: str) -> list[int]:
        """Processes of this home by their name in the kernel."""
        stats = (process_tree.stat_of(pid) for pid in self.home.processes())
        return [stat.pid for stat in stats if stat is not None and stat.comm == name and stat.state not in "ZX"]

    def engines(self, job: str) -> list[int]:
        """Shells that compute in the folder of this job. A child that a shell has forked looks like it until it
        executes its program."""
        found: dict[int, int] = {}
        for pid in process_tree.all_pids():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                inside = Path(os.readlink(f"/proc/{pid}/cwd")) == self.folder / "data/jobs" / job
                stat = process_tree.stat_of(pid)
                if inside and b"-c" in words and stat is not None:
                    found[pid] = stat.ppid
        return [pid for pid, parent in found.items() if parent not in found]

    def kill(self, name: str, *, if_there: bool = False) -> bool:
        """SIGKILL to the processes of this name; `tree`: to all of this home at once. They are dead afterwards."""
        pids = self.home.processes() if name == "tree" else [self.daemon_pid()] if name == "daemon" else self.pids(name)
        assert pids or if_there, name
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(_is_alive(pid) for pid in pids), 15.0, f"the death of {name}")
        return bool(pids)

    def daemon_pid(self) -> int:
        assert self.daemon is not None
        return self.daemon.pid


def _is_alive(pid: int) -> bool:
    stat = process_tree.stat_of(pid)
    return stat is not None and stat.state not in "ZX"


class Overlap:
    """Counts, in a thread, the most engines of one job that were seen at once."""

    def __init__(self, lab: Lab, job: str) -> None:
        self.most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(lab, job))

    def _look(self, lab: Lab, job: str) -> None:
        while not self._over.is_set():
            self.most = max(self.most, len(lab.engines(job)))
            time.sleep(0.05)

    def __enter__(self) -> Overlap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    folder = tmp_path / "app"
    folder.mkdir(0o755)  # whatever the umask: homes below a folder of all users are refused
    with ended_daemons(Home(folder / "home")) as start:
        yield Lab(folder, start)
