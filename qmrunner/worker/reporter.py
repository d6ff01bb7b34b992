"""Answers the short commands of this home: `status`, `why` and `logs` get their reports from the worker, which has
loaded everything that they need."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from contextlib import suppress
from typing import Any

from qmrunner.app import App
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import peers
from qmrunner.host.sockets import bind_short
from qmrunner.reports import named, remote

_LONGEST_QUESTION = 1 << 16
_WAITING = 16  # connections; more are refused, and these commands read the store themselves
# A report that took so much CPU time is refused for a while: its command does not wait, and other threads do.
_SLOW_S, _REFUSED_S, _REMEMBERED = 0.1, 60.0, 1000


class Reporter:
    """Answers one question after the other; `turn` waits for the next one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._code = remote.code()  # as loaded: the files may be replaced while the worker runs
        self._key = secrets.token_hex(16)
        self._listener: socket.socket | None = None
        self._slow: dict[str, float] = {}

    def turn(self) -> None:
        """Answer one question. Raises OSError when the socket cannot be made, and what a broken report raises."""
        if self._listener is None:
            self._listener = self._made()
        client, _ = self._listener.accept()
        with client:
            client.settimeout(remote.ANSWER_S)
            question = _question(client)
            answer = None if question is None or _is_gone(client) else self._answer(question)
            if answer is not None:
                with suppress(OSError):  # the command did not wait
                    client.sendall(answer)

    def _made(self) -> socket.socket:
        with open(self._app.settings.run_root / remote.KEY, "w", opener=_private) as file:
            file.write(self._key)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bind_short(made, self._app.settings.run_root, remote.SOCKET)
            made.listen(_WAITING)
        except OSError:
            made.close()
            raise
        return made

    def _answer(self, question: dict[str, Any]) -> bytes | None:
        """The report; None where the command has to make it itself: an error is reported by one place only."""
        if question.get("key") != self._key or question.get("asker") != remote.asker(self._app.settings, self._code):
            return None
        name, job, step = (question.get(word) for word in ("name", "job", "step"))
        if name not in named.NAMES or not isinstance(job, str | None) or not isinstance(step, str | None):
            return None
        key, begun = json.dumps([name, job, step]), time.thread_time()
        if self._slow.get(key, 0.0) > time.monotonic():
            return None
        try:
            self._app.store.check_file()
            self._app.open_store(create=False)
            made = json.dumps(named.make(self._app, name, job, step), default=str).encode() + remote.END
        except QmrunnerError:
            return None
        if time.thread_time() - begun > _SLOW_S:
            self._slow = self._slow if len(self._slow) < _REMEMBERED else {}
            self._slow[key] = time.monotonic() + _REFUSED_S
        return made


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _question(client: socket.socket) -> dict[str, Any] | None:
    """What a process of our user asks; None for another user, and for anything that is no question."""
    peer = peers.peer_of(client)
    if peer is None or not peers.is_ours(peer[1]):
        return None
    try:
        found = json.loads(remote.received(client, time.monotonic() + remote.ANSWER_S, _LONGEST_QUESTION))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_gone(client: socket.socket) -> bool:
    """Whether the command has stopped waiting."""
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        client.settimeout(remote.ANSWER_S)
