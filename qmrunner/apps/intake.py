"""Takes messages of a Huey application into the store: take, commit a job, acknowledge.

Huey holds what waits, qmrunner what runs: a message is taken only when a worker slot is free for it. A crash between
take and acknowledgement leaves it in the taken area, from where it is accepted again, with the same key.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from qmrunner import logs
from qmrunner.app import App
from qmrunner.apps.command import AppCommand
from qmrunner.apps.host_client import AppHostClient, Message
from qmrunner.errors import QmrunnerError
from qmrunner.host.home import app_file, write_state
from qmrunner.model.app_tasks import words_of
from qmrunner.model.jobs import Submission
from qmrunner.store import huey_jobs, huey_tries
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import accept
from qmrunner.store.claims import Claim

_WAIT_S = 10.0
_NO_ROOM_S = _COUNT_EVERY_S = 1.0
_AWAY_S = 0.5
_DESCRIBE_EVERY_S = 5.0
_COMMIT_S, _COMMIT_WAIT_S = 2.0, 0.02
_NOT_YET = "the command has not run a Huey consumer yet, or its process does not answer"
_LISTS_SENT, _SENT_SHOWN = "full", 500  # `side/storages.py`, `side/host.py`


class Intake:
    """The intake of one application; runs in its own thread of the consumer. `stopping`: the worker drains;
    `attempt_ended`: a task may have ended. `serve` is called with the number of the application's workers,
    `claimer` returns what claims a step in a transaction, and `run` runs the claimed one, or what is ready."""

    def __init__(
        self,
        app: App,
        command: AppCommand,
        worker_id: int,
        *,
        stopping: threading.Event,
        attempt_ended: threading.Event,
        serve: Callable[[int], None],
        claimer: Callable[[], Callable[[Connection], Claim | None]],
        run: Callable[[Claim | None], None],
    ) -> None:
        self._app = app
        self._command = command
        self._worker_id = worker_id
        self._stopping = stopping
        self._attempt_ended = attempt_ended
        self._serve = serve
        self._claimer = claimer
        self._run = run
        self._client = AppHostClient(app.settings.run_root, command.name)
        self._workers: int | None = None  # None: first accept again what a dead consumer may have left
        self._guarantee: str | None = None  # of the storage; None: not known yet
        self._away = False
        self._next_description = self._next_count = 0.0
        self._places = 0
        self._host: int | None = None  # the pid of the one asked last
        self._log = logs.get()

    def run(self) -> None:
        self._note({"state": "away", "evidence": _NOT_YET})
        while not self._stopping.is_set():
            try:
                self._run_once()
                self._away = False
            except (OSError, QmrunnerError) as problem:
                evidence = _NOT_YET if isinstance(problem, TimeoutError) else str(problem) or repr(problem)
                self._workers = None
                self._next_description = 0.0
                if not self._away:
                    self._note({"state": "away", "evidence": evidence})
                    self._log.warning("intake_waits", app=self._command.name, evidence=evidence)
                self._away = True
                self._stopping.wait(_AWAY_S)

    def _run_once(self) -> None:
        if self._workers is None:
            self._accept_again()
            about = self._describe()
            self._workers = int(about["workers"])
            self._serve(self._workers)
            shown = {name: about[name] for name in ("queue", "storage", "guarantee", "workers", "import_s")}
            self._log.info("app_ready", app=self._command.name, pid=about["pid"], **shown)
        if time.monotonic() >= self._next_description:
            self._describe()
        if not self._has_room(self._workers):
            self._attempt_ended.wait(_NO_ROOM_S)
            return
        message = self._client.take()
        if message is None:
            self._client.wait(_WAIT_S)
            return
        self._accept(message)

    def _describe(self) -> dict[str, Any]:
        """Ask the host what the application is, and keep it for `status`."""
        about = self._client.about()
        self._guarantee = about["guarantee"]
        if about["pid"] != self._host:
            self._forget_ended()  # the host before may have been killed when it was asked to
            self._host = about["pid"]
        self._note({"state": "ready", **about})
        self._next_description = time.monotonic() + _DESCRIBE_EVERY_S
        return about

    def _note(self, found: dict[str, Any]) -> None:
        # An error of the disk is reported by the state file of the worker.
        write_state(
            app_file(self._app.settings.run_root, self._command.name),
            {"at": time.time(), "name": self._command.name, **found},
        )

    def _has_room(self, workers: int) -> bool:
        """Whether another task may run. The store is asked again once one has ended, and every second."""
        ended = self._attempt_ended.is_set()
        self._attempt_ended.clear()
        if ended or time.monotonic() >= self._next_count:
            with self._app.store.read() as connection:
                self._places = huey_jobs.places(connection, self._command.label, self._worker_id, workers)
            self._next_count = time.monotonic() + _COUNT_EVERY_S
        return self._places > 0

    def _accept_again(self) -> None:
        for token in self._client.taken():
            message = self._client.read(token)
            if message is None:
                continue
            if self._is_known(message):
                self._client.ack(token)
            else:
                self._accept(message)

    def _forget_ended(self) -> None:
        """A consumer that died after the commit of an end could not have it forgotten."""
        for label in self._client.sent():
            with self._app.store.read() as connection:
                ended = huey_jobs.has_ended(connection, label)
            if ended:
                self._client.forget(label)

    def _is_known(self, message: Message) -> bool:
        """Whether this message has a job already: a consumer died before it acknowledged it."""
        with self._app.store.read() as connection:
            return huey_jobs.is_known(connection, message.huey_id or message.token, message.token)

    def _accept(self, message: Message) -> None:
        """Commit the job of a message, then acknowledge it."""
        key = huey_jobs.key_of(message.huey_id or message.token, message.token)
        words, objections = words_of(message.words)
        section = self._command.section
        if section is not None:
            words |= section.tasks.get(message.task or "", {})  # the operator's word is the last
        if objections:
            self._log.warning("task_words_ignored", app=self._command.name, task=message.task, words=objections)
        submission = Submission(
            kind="huey",
            params={
                "app": self._command.name,
                "task": message.task,
                "huey_id": message.huey_id,
                "token": message.token,
                "message": base64.b64encode(message.data).decode(),
                "cwd": (section.cwd if section else None) or os.getcwd(),
                "words": words,
                "tmpdir": section.tmpdir if section else "attempt",
                "stop": section.stop if section else "finish",
                "fence": not self._app.store.is_sqlite,  # several machines: a lapsed worker may come back
            },
            name=(message.task or "unreadable message")[:200],
            key=key,
            requires=(self._command.label,),
        )
        job_id, claimed = self._commit(submission, message)
        self._log.info("task_accepted", job=job_id, app=self._command.name, task=message.task, id=message.huey_id)
        self._places -= 1
        self._run(claimed)
        self._client.ack(message.token)  # last: the task need not wait for it

    def _commit(self, submission: Submission, message: Message) -> tuple[str, Claim | None]:
        """Store a job, or the next try of one, and claim it in the same commit: each flush to disk takes
        milliseconds."""
        claim, end = self._claimer(), time.monotonic() + _COMMIT_S
        while True:
            try:
                with self._app.store.write() as connection:
                    found = self._try_of(connection, message, submission)
                    if found.unfinished is None or time.monotonic() >= end:
                        return found.job_id or self._add(connection, submission), claim(connection)
            except IntegrityError:  # its key: committed before, and the reply was lost
                return "?", None
            if self._may_have_sent(found.unfinished):
                time.sleep(_COMMIT_WAIT_S)
            else:
                end = 0.0  # another message of the same id: the application chose it; look once more, and accept

    def _may_have_sent(self, job_id: str) -> bool:
        """Whether this unfinished job may have sent the message: what a try sends is sent a moment before its end is
        committed."""
        if self._guarantee != _LISTS_SENT:
            return True
        sent = self._client.sent()
        return len(sent) >= _SENT_SHOWN or any(label.startswith(f"{job_id}/") for label in sent)

    def _try_of(self, connection: Connection, message: Message, submission: Submission) -> huey_tries.Taken:
        if message.huey_id is None:
            return huey_tries.Taken(None)
        now = self._app.store.now()
        return huey_tries.accept(connection, now, message.huey_id, submission.params, self._app.planner)

    def _add(self, connection: Connection, submission: Submission) -> str:
        job_id = job_store.new_id()
        accept(connection, self._app.store.now(), job_id, submission, self._app.planner)
        return job_id
