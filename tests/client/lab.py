"""What tests of the client share: a server that is killed and comes back at its address, and a proxy that loses
answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.api.lab import Server
from tests.support import ROOT, Home

STAND_IN = ROOT / "tests" / "stand_ins" / "xtb"
WATER = "3\n{}\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


class Mortal:
    """`qmrunner serve` at one address, through its deaths."""

    def __init__(self, home: Home) -> None:
        self._home, self._count = home, 0
        self.server = self._started("0")
        self.url = self.server.url

    def _started(self, port: str) -> Server:
        self._count += 1
        return Server(self._home, self._home.path.parent / f"serve-{self._count}.out", "--port", port)

    def kill(self) -> None:
        """SIGKILL, and start the next one at the same address. Returns once it answers."""
        self.end()
        self.server = self._started(str(urlsplit(self.url).port))

    def end(self) -> None:
        self.server.client.close()
        self.server.process.kill()
        self.server.process.wait(10)


@contextmanager
def mortal(home: Home) -> Iterator[Mortal]:
    server = Mortal(home)
    try:
        yield server
    finally:
        server.end()


class LosingProxy:
    """Passes connections on, and closes the first `losses` that carry a POST once the server begins its answer."""

    def __init__(self, url: str, losses: int) -> None:
        self._target = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._left, self.lost = losses, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, suppress(OSError):
            answers = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            self._posts: set[socket.socket] = getattr(self, "_posts", set())
            answers.start()
            while data := client.recv(1 << 16):
                if data.startswith(b"POST "):
                    self._posts.add(client)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if client in self._posts and self._left > 0:
                    self._left -= 1
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


def log_of(home: Home, job_id: str) -> list[str]:
    """The lines of the log of a job's only step, as they are on disk."""
    (path,) = (home.settings.logs_root / job_id).glob("xtb.*.log")
    return Path(path).read_text().splitlines()
