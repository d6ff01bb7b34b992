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


class Children:
    """Called from threads. A child is started when it is first needed, and may work for `seconds` on one input."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        for _ in range(_CHILDREN):
            self._idle.put(_Child())

    def check(self, form: dict[str, Any], paths: list[str], crest_installed: bool) -> Submission:
        """The checked job. Raises UsageError as `checking.check` does, and `input_too_slow`, `input_crashed`;
        NotReadyError `busy`."""
        try:
            child = self._idle.get(timeout=self.seconds)
        except queue.Empty:
            raise NotReadyError("busy", "too much was handed in at once", remedy="hand it in again later") from None
        try:
            answer = child.ask({"form": form, "paths": paths, "crest_installed": crest_installed}, self.seconds)
        finally:
            self._idle.put(child)
        if "error" in answer:
            told = answer["error"]
            raise UsageError(told["code"], told["message"], evidence=told["evidence"], remedy=told["remedy"])
        files = {name: base64.b64decode(data) for name, data in answer["files"].items()}
        made = Submission(answer["kind"], answer["params"], files, requires=tuple(answer["requires"]))
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

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            if not self._connection.poll(seconds):
                self.end()
                raise UsageError(
                    "input_too_slow",
                    f"the input could not be read within {seconds:g} s",
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
