"""The processes that check what was handed in: kept warm, ended when one takes too long."""

from __future__ import annotations

import base64
import json
import os
import queue
import subprocess
import sys
from dataclasses import replace
from multiprocessing import Pipe
from typing import Any

from qmrunner.errors import NotReadyError, UsageError
from qmrunner.model.jobs import Submission

_CHILDREN = 2
_CHECK_S = 20.0


class Children:
    """Called from threads. A child is started when it is first needed."""

    def __init__(self) -> None:
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        for _ in range(_CHILDREN):
            self._idle.put(_Child())

    def check(self, form: dict[str, Any], paths: list[str], crest_installed: bool) -> Submission:
        """The checked job. Raises UsageError as `checking.check` does, and `input_too_slow`, `input_crashed`;
        NotReadyError `busy`."""
        try:
            child = self._idle.get(timeout=_CHECK_S)
        except queue.Empty:
            raise NotReadyError("busy", "too much was handed in at once", remedy="hand it in again later") from None
        try:
            answer = child.ask({"form": form, "paths": paths, "crest_installed": crest_installed})
        finally:
            self._idle.put(child)
        if "error" in answer:
            told = answer["error"]
            raise UsageError(told["code"], told["message"], evidence=told["evidence"], remedy=told["remedy"])
        files = {name: base64.b64decode(data) for name, data in answer["files"].items()}
        made = Submission(answer["kind"], answer["params"], files)
        return replace(made, name=form.get("name"), priority=form.get("priority", 0))

    def close(self) -> None:
        """End those that are idle; one that works ends when the server does."""
        while True:
            try:
                self._idle.get_nowait().end()
            except queue.Empty:
                return


class _Child:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            if not self._connection.poll(_CHECK_S):
                self.end()
                raise UsageError(
                    "input_too_slow",
                    f"the input could not be read within {_CHECK_S:g} s",
                    remedy="cut the molecule down, or give a MOL or SDF file with bonds in place of an XYZ",
                )
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            assert self._process is not None
            status = self._process.wait()
            self.end()
            raise UsageError(
                "input_crashed",
                "reading this input ended the process that reads inputs",
                evidence=f"status {status}",
                remedy="write the structure again with another program",
            ) from None
        return answer

    def _start(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("QMRUNNER_")}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "qmrunner.api.checking", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment,
            )  # fmt: skip
        self._connection = ours

    def end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._process = None
