"""The spawner: a small, warm, single-threaded process from which guardians are forked.

A fork of the spawner takes milliseconds, a fresh interpreter a hundred; forking a consumer with threads is not safe.
The spawner is a child subreaper: when a guardian is killed, it inherits that guardian's tree and ends it at once.

One SOCK_SEQPACKET request per connection: {"op": "guard"} with a descriptor of the attempt's directory → {"pid"}, or
{"error"} when the fork failed; {"op": "settle"} → {"ok"} once no process is left that belonged to a dead guardian.
Other requests, peers of another user and silent connections are dropped. The spawner ends when the supervisor ends (end
of file on its stdin); its guardians keep running.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from qmrunner.guardian import peers, process, process_tree
from qmrunner.guardian.cgroup import oom_kills

SOCKET = "spawner.sock"
_REQUEST_S = 5.0  # time limit for a connection to send its request
_CONNECTIONS = 64


class Spawner:
    """The one loop: guardians, and clients that request them. Times are monotonic seconds."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._guardians: set[int] = set()  # children that are no orphans
        self._clients: dict[int, tuple[socket.socket, float]] = {}
        self._wake, self._into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poller = select.poll()

    def serve(self) -> None:
        """Serve requests until the supervisor is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._into, warn_on_full_buffer=False)
        self._listener.setblocking(False)
        for descriptor in (self._wake, self._listener.fileno(), 0):
            self._poller.register(descriptor, select.POLLIN | select.POLLHUP)
        while True:
            ready = {descriptor for descriptor, _ in self._poller.poll(self.timeout_ms())}
            if self._wake in ready:
                os.read(self._wake, 4096)
                _reap(self._guardians)
            for descriptor in ready & set(self._clients):
                self._answer(descriptor)
            self._drop_silent()
            if self._listener.fileno() in ready:
                self._accept()
            # Further clients wait in the listener's queue.
            room = len(self._clients) < _CONNECTIONS
            self._poller.modify(self._listener, select.POLLIN if room else 0)
            if 0 in ready and not os.read(0, 1):
                return
            self.tick()

    # -- for a process that is more than a spawner: `apps/side/host.py` ----------------------------------------------

    def timeout_ms(self) -> float | None:
        """How long the loop may sleep."""
        return 1000 * _REQUEST_S if self._clients else None

    def tick(self) -> None:
        """Called in every round of the loop."""

    def guard(self, directory: int, client: socket.socket) -> int:
        """Have an attempt guarded. Returns the guardian's pid. Raises OSError."""
        return self._fork(directory, client)

    def before_fork(self) -> None:
        """Called before the fork of each guardian."""

    def run_guardian(self, directory: int) -> None:
        """Runs in the forked guardian."""
        process.run_guardian(directory)

    def other_reply(
        self, client: socket.socket, request: dict[str, Any], passed: list[int]
    ) -> dict[str, object] | None:
        """The reply to a request that no spawner knows; None drops it."""
        return None

    # ---------------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # the client has left, or no descriptors are free
        peer = peers.peer_of(client)
        # An engine that may use local sockets must not get a guardian for a folder that it made.
        if peer is None or not peers.is_ours(peer[1]) or process_tree.is_guarded(peer[0]):
            client.close()
            return
        client.setblocking(False)
        self._clients[client.fileno()] = client, time.monotonic() + _REQUEST_S
        self._poller.register(client, select.POLLIN)

    def _drop_silent(self) -> None:
        now = time.monotonic()
        for descriptor in [descriptor for descriptor, (_, until) in self._clients.items() if now > until]:
            self._forget(descriptor).close()

    def _forget(self, descriptor: int) -> socket.socket:
        self._poller.unregister(descriptor)
        return self._clients.pop(descriptor)[0]

    def _answer(self, descriptor: int) -> None:
        with self._forget(descriptor) as client:
            passed: list[int] = []
            try:
                data, passed, _, _ = socket.recv_fds(client, 65536, 1)
                for handle in passed:
                    os.set_inheritable(handle, False)  # `recv_fds` drops its flags (Python 3.11)
                reply = self._reply(client, data, passed)
                if reply is not None:
                    client.send(json.dumps(reply).encode())
            except OSError:
                return  # the consumer died meanwhile; its successor finds the guardian's record
            finally:
                for handle in passed:
                    os.close(handle)

    def _reply(self, client: socket.socket, data: bytes, passed: list[int]) -> dict[str, object] | None:
        try:
            request = json.loads(data)
            operation = request["op"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None  # a consumer that died while it sent, or another program
        if operation == "settle":
            return {"ok": _reap(self._guardians)}
        if operation != "guard":
            return self.other_reply(client, request, passed)
        if len(passed) != 1:
            return None
        try:
            return {"pid": self.guard(passed[0], client)}
        except OSError as problem:
            return {"error": f"fork: {problem.strerror}"}

    def _fork(self, directory: int, client: socket.socket) -> int:
        return self.fork_for(lambda: self.run_guardian(directory), client)

    def fork_for(self, run: Callable[[], None], *clients: socket.socket) -> int:
        """Run a function in a fork, which keeps none of this process's connections. Returns the fork's pid."""
        self.before_fork()
        pid = os.fork()
        if pid:
            self._guardians.add(pid)
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            own = [self._wake, self._into, self._listener.fileno()]
            for descriptor in (*own, *(client.fileno() for client in clients), *self._clients):
                os.close(descriptor)
            run()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)


def _reap(guardians: set[int]) -> bool:
    """Collect ended guardians, then end the processes they left. True when none is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        guardians.discard(pid)

    def orphans() -> list[int]:
        return [pid for pid in process_tree.children_of(os.getpid()) if pid not in guardians]

    return process_tree.end_subtrees(orphans(), orphans)


def main() -> None:
    """`python -m qmrunner.guardian.spawner`: fd 0 a pipe from the supervisor, fd 3 the listening socket."""
    process_tree.become_subreaper()
    process_tree.name_process(process_tree.SPAWNER_NAME)
    listener = socket.socket(fileno=int(sys.argv[1]))
    oom_kills()  # finds the file once for all guardians
    gc.collect()
    gc.freeze()  # keep pages shared with the guardians
    Spawner(listener).serve()


if __name__ == "__main__":
    main()
