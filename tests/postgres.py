"""A PostgreSQL server of the tests' own: a fresh cluster in a temporary folder, reached by a socket only."""

from __future__ import annotations

import atexit
import functools
import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.support import wait_for

# Not the language of the user who runs the tests: with one that is not installed initdb refuses to work.
PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def program(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH."""
    found = shutil.which(name)
    return found or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)


def _as_postgres(folder: Path) -> list[str]:
    """The words before a command that works in this folder: PostgreSQL refuses to run as root; its package has made a
    user for it."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres")
    return ["runuser", "-u", "postgres", "--"]


@functools.cache
def _cluster() -> Path:
    """A cluster that never ran, to be copied: making one takes a second of computing."""
    initdb = program("initdb")
    assert initdb
    folder = Path(tempfile.mkdtemp(prefix="qmpg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(
        [*_as_postgres(folder), initdb, "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync",
         "--locale=C", "--encoding=UTF8"],
        check=True, capture_output=True, cwd=folder, env=PLAIN,
    )  # fmt: skip
    return folder / "data"


class Server:
    """A cluster that is started, stopped and killed at will. `url` names it, with a database that is always there."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qmpg-"))
        self._prefix = _as_postgres(self.folder)
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(["cp", "-a", str(_cluster()), str(self._data)], check=True)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self.folder))}"

    def start(self) -> Server:
        postgres = program("postgres")
        assert postgres
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]
        self._process = subprocess.Popen(
            [*self._prefix, postgres, "-D", str(self._data), "-k", str(self.folder), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, env=PLAIN,
        )  # fmt: skip
        wait_for(lambda: _accepts(self.folder), 30.0, "PostgreSQL to accept connections")
        return self

    def stop(self) -> None:
        """At once: connections are broken off, what is not committed is gone; the next start recovers the rest."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._end()
        self._process.wait(20)
        self._process = None

    def _end(self) -> None:
        ctl = program("pg_ctl")
        assert ctl
        subprocess.run(
            [*self._prefix, ctl, "-D", str(self._data), "-m", "immediate", "-w", "stop"],
            check=True, capture_output=True, cwd=self.folder,
        )  # fmt: skip


@contextmanager
def server() -> Iterator[Server]:
    """A running server on which databases may be made."""
    made = Server()
    try:
        yield made.start()
    finally:
        made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)


def _accepts(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
