"""A real PostgreSQL, with a standby if wanted, and a real Redis, in the namespace of the servers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.faults.network import POSTGRES, REDIS, Network
from tests.postgres import program
from tests.support import missing, wait_for


class Postgres:
    """One cluster. `kill` is SIGKILL; what was committed must be there after `start`."""

    def __init__(self, network: Network, port: int = POSTGRES) -> None:
        if program("postgres") is None:
            missing("postgres is not installed (Debian: apt-get install postgresql)")
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="qmpg-"))
        self.data = self.folder / "data"
        self._as = [*network.inside(network.hub), "runuser", "-u", "postgres", "--", "env", "LC_ALL=C"]
        self._process: subprocess.Popen[bytes] | None = None
        shutil.chown(self.folder, "postgres")

    def initialise(self) -> Postgres:
        self._call(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--locale=C",
            "--encoding=UTF8",
        )
        with open(self.data / "pg_hba.conf", "a") as file:
            file.write("host all all 10.0.0.0/8 trust\nhost replication all 10.0.0.0/8 trust\n")
        return self

    def start(self) -> Postgres:
        server = program("postgres")
        assert server is not None
        # fsync only matters to a machine that loses power.
        options = {"listen_addresses": "*", "port": self.port, "fsync": "off", "max_connections": 200}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*self._as, server, "-D", str(self.data), "-k", str(self.folder), *words],
                stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        wait_for(self._accepts, 60.0, "PostgreSQL to accept connections")
        return self

    def kill(self) -> None:
        """The server process and, as they notice, its children: without closing a connection."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
        assert self._process is not None
        self._process.wait(20)
        # Its children hold the shared memory for a moment longer, and a new server would be refused.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def standby_of(self, primary: Postgres) -> Postgres:
        """A copy that follows. Commits of the primary wait for it from now on, or a failover would lose some."""
        self._call("pg_basebackup", "-h", str(primary.folder), "-p", str(primary.port), "-U", "postgres", "-D",
                   str(self.data), "-R", "-X", "stream", "-c", "fast", "--no-sync")  # fmt: skip
        self.start()
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_for(lambda: primary.execute(query) == 1, 30.0, "the standby to keep up")
        return self

    def promote(self) -> None:
        self.execute("ALTER SYSTEM RESET synchronous_standby_names")
        self.execute("SELECT pg_promote()")

    def execute(self, statement: str) -> object:
        """The first value of the answer, if it has one."""
        with self._connect() as connection:
            found = connection.execute(statement)  # type: ignore[arg-type]  # statements of the tests' own
            row = found.fetchone() if found.description else None
        return row[0] if row else None

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            subprocess.run(["kill", f"-{signal.SIGQUIT.value}", str(pid)], check=True)
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user="postgres",
            dbname="postgres",
            connect_timeout=2,
            autocommit=True,
        )

    def _accepts(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _call(self, name: str, *words: str) -> None:
        found = program(name)
        assert found is not None
        subprocess.run([*self._as, found, *words], check=True, capture_output=True, cwd=self.folder, timeout=120)


class Redis:
    """Holds nothing that matters, so it keeps nothing on disk."""

    def __init__(self, network: Network) -> None:
        if shutil.which("redis-server") is None:
            missing("redis-server is not installed (Debian: apt-get install redis-server)")
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Redis:
        options = ["--port", str(REDIS), "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
        self._process = subprocess.Popen(
            [*self._network.inside(self._network.hub), "redis-server", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: b"PONG" in self._ask("PING"), 20.0, "Redis to answer")
        return self

    def flush(self) -> None:
        self._ask("FLUSHALL")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    close = kill

    def _ask(self, *words: str) -> bytes:
        command = [*self._network.inside(self._network.hub), "redis-cli", "-p", str(REDIS), *words]
        return subprocess.run(command, capture_output=True, timeout=10, check=False).stdout
