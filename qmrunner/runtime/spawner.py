"""The spawner: a small, warm, single-threaded process from which guardians are forked.

A fork of it costs milliseconds where a fresh interpreter costs a hundred, and forking a consumer with its threads is
not safe. It is a child subreaper: when a guardian is killed, that guardian's tree falls to it and is ended at once.

One SOCK_SEQPACKET request per connection: {"op": "guard", "directory"} → {"pid"}; {"op": "settle"} → {"ok"} once no
process is left that belonged to a dead guardian. It ends when the supervisor does (end of file on its stdin); its
guardians go on.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback

from qmrunner.runtime import guardian, tree

SOCKET = "spawner.sock"


def serve(listener: socket.socket) -> None:
    guardians: set[int] = set()
    wake, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    poller = select.poll()
    for descriptor in (wake, listener.fileno(), 0):
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if wake in ready:
            os.read(wake, 4096)
            _reap(guardians)
        if listener.fileno() in ready:
            _answer(listener, guardians, (wake, into))
        if 0 in ready and not os.read(0, 1):
            return


def _reap(guardians: set[int]) -> bool:
    """Collect ended guardians, then end whatever they left. True when nothing of theirs is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        guardians.discard(pid)

    def orphans() -> list[int]:
        return [pid for pid in tree.children_of(os.getpid()) if pid not in guardians]

    return tree.end_subtrees(orphans(), orphans)


def _answer(listener: socket.socket, guardians: set[int], pipe: tuple[int, int]) -> None:
    client, _ = listener.accept()
    with client:
        client.settimeout(5.0)
        try:
            request = json.loads(client.recv(65536) or b"{}")
        except (OSError, ValueError):
            return  # a consumer that died in mid-sentence
        if request.get("op") == "guard":
            reply = {"pid": _fork(request["directory"], guardians, (*pipe, listener.fileno(), client.fileno()))}
        else:
            reply = {"ok": _reap(guardians)}
        try:
            client.send(json.dumps(reply).encode())
        except OSError:
            return  # the consumer died meanwhile; its successor finds the guardian's record


def _fork(directory: str, guardians: set[int], inherited: tuple[int, ...]) -> int:
    pid = os.fork()
    if pid:
        guardians.add(pid)
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for descriptor in inherited:
            os.close(descriptor)
        guardian.guard(directory)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """`python -m qmrunner.runtime.spawner`: fd 0 a pipe from the supervisor, fd 3 the listening socket."""
    tree.become_subreaper()
    tree.name_process(tree.SPAWNER_NAME)
    listener = socket.socket(fileno=int(sys.argv[1]))
    gc.collect()
    gc.freeze()  # keep pages shared with the guardians
    serve(listener)


if __name__ == "__main__":
    main()
