"""A Redis server of the tests' own, with a password and, when asked for, TLS from a certificate authority made here."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import support

PASSWORD = "s:e/c@ret"  # what a URL must quote
_QUOTED = "s%3Ae%2Fc%40ret"


class Server:
    """Started and ended at will; it keeps its port, and nothing else."""

    def __init__(self, folder: Path, tls: bool) -> None:
        self._folder = folder
        self._tls = _authority(folder) if tls else None
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        if self._tls is None:
            return f"redis://:{_QUOTED}@127.0.0.1:{self.port}/0"
        return f"rediss://:{_QUOTED}@127.0.0.1:{self.port}/0?ssl_ca_certs={self._tls / 'ca.pem'}"

    def start(self) -> Server:
        options = ["--requirepass", PASSWORD, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        if self._tls is None:
            options += ["--port", str(self.port)]
        else:
            options += [
                "--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no",
                "--tls-cert-file", str(self._tls / "server.pem"), "--tls-key-file", str(self._tls / "server.key"),
                "--tls-ca-cert-file", str(self._tls / "ca.pem"),
            ]  # fmt: skip
        with open(self._folder / "redis.log", "ab") as log:
            self._process = subprocess.Popen(["redis-server", *options], cwd=self._folder, stdout=log, stderr=log)
        support.wait_for(self._answers, 20.0, "Redis to answer")
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.url, socket_timeout=5)

    def _answers(self) -> bool:
        import redis

        client = self.client()
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
        finally:
            client.close()


@contextmanager
def server(folder: Path, *, tls: bool = False) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        support.missing("Redis is not installed; `make setup` installs it as root")
    folder.mkdir(parents=True, exist_ok=True)
    made = Server(folder, tls)
    try:
        yield made.start()
    finally:
        made.kill()


def _authority(folder: Path) -> Path:
    """A certificate authority and a certificate of 127.0.0.1 signed by it."""

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new_key, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "names", "-out", "server.pem",
    )  # fmt: skip
    return folder
