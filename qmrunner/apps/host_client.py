"""The client of an app host: takes messages, acknowledges them, sends what tasks left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner.attempt.spawner_client import SpawnerClient, app_socket


class AppHostError(OSError):
    """The host runs, but the request failed: its storage does not answer, for instance."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the host took. `huey_id` and `task` are None when it cannot be read."""

    token: str
    data: bytes
    huey_id: str | None
    task: str | None
    unreadable: str | None = None
    words: Any = None  # the options that the task declares, not checked


class AppHostClient:
    """Every method raises OSError when the host is not there, AppHostError when it could not do it."""

    def __init__(self, run_root: Path, app: str) -> None:
        self._spawner = SpawnerClient(run_root, app_socket(app))

    def wait(self, seconds: float) -> None:
        """Return when the queue may hold a message."""
        self._ask({"op": "wait", "s": seconds})

    def take(self) -> Message | None:
        return self._message({"op": "take"})

    def taken(self) -> list[str]:
        """Tokens of messages that this home took and has not acknowledged."""
        tokens: list[str] = self._ask({"op": "taken"})["tokens"]
        return tokens

    def read(self, token: str) -> Message | None:
        return self._message({"op": "read", "token": token})

    def ack(self, token: str) -> None:
        self._ask({"op": "ack", "token": token})

    def put(self, step: str, folder: Path) -> None:
        """Send, once, what the task of this step left in `folder`."""
        self._ask({"op": "put", "step": step, "folder": str(folder)})

    def forget(self, step: str) -> None:
        self._ask({"op": "forget", "step": step})

    def sent(self) -> list[str]:
        """Steps whose end was sent, and that have not been forgotten."""
        ids: list[str] = self._ask({"op": "sent"})["ids"]
        return ids

    def about(self) -> dict[str, Any]:
        return self._ask({"op": "about"})

    def _message(self, request: dict[str, Any]) -> Message | None:
        file = os.memfd_create("message", os.MFD_CLOEXEC)
        try:
            answer = self._ask(request, file)
            if answer["token"] is None:
                return None
            os.lseek(file, 0, os.SEEK_SET)
            with os.fdopen(os.dup(file), "rb") as content:
                data = content.read()
        finally:
            os.close(file)
        return Message(
            answer["token"], data, answer["id"], answer["task"], answer.get("unreadable"), answer.get("words")
        )

    def _ask(self, request: dict[str, Any], *passed: int) -> dict[str, Any]:
        answer = self._spawner.ask(request, *passed)
        if "error" in answer:
            raise AppHostError(str(answer["error"]))
        return answer
