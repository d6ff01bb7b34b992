"""A PostgreSQL server of the tests' own: a fresh cluster in a temporary folder, reached by a socket only."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import wait_for


def program(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH."""
    found = shutil.which(name)
    return found or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server on which databases may be made."""
    initdb, postgres = program("initdb"), program("postgres")
    assert initdb
    assert postgres
    folder = Path(tempfile.mkdtemp(prefix="qmpg-"))
    # PostgreSQL refuses to run as root; its package has made a user for it.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if prefix:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    subprocess.run(
        [*prefix, initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]
    process = subprocess.Popen(
        [*prefix, postgres, "-D", str(data), "-k", str(folder), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    try:
        wait_for(lambda: _accepts(folder), 30.0, "PostgreSQL to accept connections")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        process.terminate()  # runuser passes it on: fast enough, nobody needs the data again
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _accepts(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
