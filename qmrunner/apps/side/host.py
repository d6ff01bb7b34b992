"""The app host: takes messages from the application's storage, and forks the guardian of each task.

It is the spawner of its tasks (`guardian.spawner`), from a process in which the application is imported and its startup
hooks have run. It runs no task itself. Requests, besides those of a spawner:

    {"op": "wait", "s"}         → {"changed"} when the queue may hold a message, or after `s` seconds
    {"op": "take"} + a file     → {"token", "id", "task", …}; the message is written to the file; {"token": null}: none
    {"op": "taken"}             → {"tokens"}: messages that this home took and has not acknowledged
    {"op": "read", "token"} + a file → as `take`
    {"op": "ack", "token"}      → {}
    {"op": "put", "step", "folder"}  → {}: sends what the task's end left in `folder`, once
    {"op": "forget", "step"}    → {}: the end is committed, it will not be sent again
    {"op": "sent"}              → {"ids"}: steps whose end was sent, and not forgotten
    {"op": "about"}             → what the application is, for `status`

An {"error"} is the reply to a request that failed.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
import time
import traceback
from typing import Any

from huey import signals as huey_signals
from huey.consumer import Consumer

from qmrunner.apps.side import (
    done,
    hooks,
    inheritance,
    isolation,
    keeper,
    lasting_task,
    launch,
    sharing,
    storages,
    task,
    watch,
)
from qmrunner.apps.side.host_signals import HostSignals
from qmrunner.apps.side.pool import Pool
from qmrunner.guardian import lasting, process, process_tree
from qmrunner.guardian.spawner import Spawner

_LOOK_MS = 50.0  # latency of a new message where the storage cannot be watched
# A file is written before what was written can be read: SQLite flushes it to disk in between.
_LOOK_AFTER_S, _LOOK_AFTER_MS = 0.5, 20.0
_LOOK_SOON_S, _LOOK_SOON_MS = 0.05, 3.0
_LOOK_ANYWAY_S = 1.0
_PERIODIC_S = 60.0
_SENT_SHOWN = 500
_ENQUEUED = getattr(huey_signals, "SIGNAL_ENQUEUED", None)  # not before Huey 2.5.3


class AppHost(Spawner):
    """Times are monotonic seconds. `beside`: the pid of the process of which this one is a fork."""

    def __init__(
        self,
        listener: socket.socket,
        consumer: Consumer,
        spec: dict[str, Any],
        import_s: float,
        beside: int | None,
    ) -> None:
        super().__init__(listener)
        self._beside = beside
        self._spec = spec
        self._consumer = consumer
        self._huey = consumer.huey
        self._owner = spec["owner"]
        self._import_s = import_s
        self._storage = storages.of(self._huey.storage)
        self._isolation = spec["isolation"]
        self._pool = Pool()
        self._waiting: list[tuple[socket.socket, float]] = []
        self._watch: int | None = None
        self._keeper: int | None = None
        self._look_anyway = self._look_until = 0.0
        self._next_schedule = time.monotonic()
        self._next_periodic = time.monotonic()

    def prepare(self) -> None:
        """Run the startup hooks once, and make this process fit to be forked. Raises SystemExit."""
        if self._huey.immediate:
            sys.exit(
                "qmrunner: this Huey is in immediate mode: its tasks run where they are called; set immediate=False"
            )
        process_tree.become_subreaper()
        process_tree.name_process(process_tree.APP_HOST_NAME)
        self._storage.prepare()
        self._watch = self._storage.watch()
        if self._watch is not None:
            self._poller.register(self._watch, select.POLLIN)
        inheritance.remember()
        own = {self._wake, self._into, self._listener.fileno(), self._watch or 0}
        self._isolation = isolation.settle(self._isolation, self._consumer, own, alone=self._beside is None)
        self._signals = HostSignals(self._huey, self._isolation, self.fork_for)
        self._huey.storage.close()
        # What the application has started is no orphan of a guardian.
        self._guardians.update(process_tree.children_of(os.getpid()))
        self._keeper = self._storage.keep_open()
        if self._keeper is not None:
            self._guardians.add(self._keeper)  # a child that is no orphan
        gc.collect()
        gc.freeze()  # keep pages shared with guardians and tasks

    @property
    def _lasts(self) -> bool:
        return bool(self._isolation == isolation.WORKER)

    def leave(self) -> None:
        if not self._lasts:
            hooks.run(self._huey._shutdown)
        if self._keeper is not None:
            keeper.end(self._keeper)

    # -- the loop's parts -------------------------------------------------------------------------------------------

    def timeout_ms(self) -> float | None:
        now = time.monotonic()
        due = (self._next_schedule - now) * 1000
        if self._waiting and self._watch is None:
            due = min(due, _LOOK_MS)
        elif self._waiting and now < self._look_until:
            soon = self._look_until - now > _LOOK_AFTER_S - _LOOK_SOON_S
            due = min(due, _LOOK_SOON_MS if soon else _LOOK_AFTER_MS)
        return max(1.0, due)

    def tick(self) -> None:
        if self._beside is not None and os.getppid() != self._beside:
            sys.exit("qmrunner: the process that started the consumer has ended")
        now = time.monotonic()
        try:
            if now >= self._next_schedule:
                self._next_schedule = now + self._consumer.scheduler_interval
                self._move_due()
            if self._watch is not None and watch.changed(self._watch):
                self._look_until = now + _LOOK_AFTER_S
            if self._waiting:
                self._answer_waiting(now)
        except Exception:  # the storage does not answer; the next round tries again
            traceback.print_exc()
            sys.stderr.flush()
            self._next_schedule = now + max(1.0, self._consumer.scheduler_interval)

    def _answer_waiting(self, now: float) -> None:
        look = self._watch is None or now < self._look_until or now >= self._look_anyway
        changed = look and self._storage.ready()
        if look:
            self._look_anyway = now + _LOOK_ANYWAY_S
        for client, until in list(self._waiting):
            if changed or now >= until:
                self._waiting.remove((client, until))
                try:
                    client.send(json.dumps({"changed": changed}).encode())
                except OSError:
                    pass  # the consumer died
                client.close()

    def _move_due(self) -> None:
        """What Huey's scheduler does, with moves that are one transaction each."""
        moved: list[bytes] = []
        try:
            for found, data in self._storage.due(self._huey._get_timestamp()):
                if self._storage.move(found, storages.Item(data, self._priority(data))):
                    moved.append(data)
        finally:
            self._signals.send(_ENQUEUED, moved)
        if self._consumer.periodic and time.monotonic() >= self._next_periodic:
            self._put_periodic()  # again in the next round, if the storage did not take them
            while self._next_periodic <= time.monotonic():
                self._next_periodic += _PERIODIC_S

    def _priority(self, data: bytes) -> float | None:
        try:
            priority: float | None = self._huey.deserialize_task(data).priority
        except Exception:  # an unknown task: its own run reports it
            return None
        return priority

    def _put_periodic(self) -> None:
        now = self._huey._get_timestamp()
        sent: list[bytes] = []
        try:
            for found in self._huey.read_periodic(now):
                name = self._huey._registry.task_to_string(type(found))
                item = storages.Item(self._huey.serialize_task(found), found.priority)
                if self._storage.put_once(storages.periodic_id(name, now), [item]):
                    sent.append(item.data)
        finally:
            self._signals.send(_ENQUEUED, sent)
        for kind in self._huey._registry.periodic_tasks:
            name = self._huey._registry.task_to_string(type(kind))
            self._storage.forget(storages.periodic_id(name, now - storages.PERIODIC_KEPT))

    # -- guardians --------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close the storages. SQLite's locks are not inherited: with an inherited connection a task wrote to a journal
        that the next host had deleted as unused, and its result was lost (measured)."""
        for huey in sharing.hueys():
            huey.storage.close()

    def guard(self, directory: int, client: socket.socket) -> int:
        if not self._lasts:
            return super().guard(directory, client)
        return self._pool.hand_over(directory) or self._pool.add(lambda: self._fork(directory, client))

    def run_guardian(self, directory: int) -> None:
        inheritance.make_private(self._spec["umask"])
        for descriptor in [client.fileno() for client, _ in self._waiting] + [self._watch]:
            if descriptor is not None:
                os.close(descriptor)
        if self._lasts:
            most = getattr(self._consumer, "max_tasks", None)
            channel = self._pool.of_child()
            lasting.serve(directory, channel, lambda orders: lasting_task.serve(self._huey, orders), most)
            return
        inherited = inheritance.descriptors() - {directory}

        def call(order: process.Order) -> None:
            _close_all_but(inherited)
            if self._isolation == isolation.EXEC:
                inheritance.restore_umask()
                launch.execute_again(self._spec, order)
            process_tree.name_process(process_tree.TASK_NAME)
            inheritance.restore()
            task.run(self._huey, order)

        process.run_guardian(directory, call)

    # -- requests ---------------------------------------------------------------------------------------------------

    def other_reply(
        self, client: socket.socket, request: dict[str, Any], passed: list[int]
    ) -> dict[str, object] | None:
        try:
            operation = request["op"]
            if operation == "wait":
                self._waiting.append((client.dup(), time.monotonic() + min(60.0, float(request["s"]))))
                return None
            if operation == "take":
                return self._take(passed[0])
            if operation == "taken":
                return {"tokens": self._storage.taken(self._owner)}
            if operation == "read":
                return self._describe(request["token"], self._storage.read(request["token"]), passed[0])
            if operation == "ack":
                self._storage.ack(request["token"])
                return {}
            if operation == "put":
                self._put(request["step"], request["folder"])
                return {}
            if operation == "forget":
                self._storage.forget(request["step"])
                return {}
            if operation == "sent":
                return {"ids": self._storage.sent()[:_SENT_SHOWN]}
            if operation == "about":
                return self._about()
        except Exception as problem:
            return {"error": f"{type(problem).__name__}: {problem}"}
        return None

    def _take(self, file: int) -> dict[str, object]:
        while True:
            taken = self._storage.take(self._owner)
            if taken is None:
                return {"token": None}
            token, data = taken
            eta = self._eta(data)
            if eta is None:
                return self._describe(token, data, file)
            self._storage.to_schedule(token, storages.Item(data, None, eta))
            self._signals.send(huey_signals.SIGNAL_SCHEDULED, [data])

    def _eta(self, data: bytes) -> Any:
        """When a message wants to run, if that is later than now."""
        try:
            found = self._huey.deserialize_task(data)
        except Exception:
            return None
        return None if self._huey.ready_to_run(found) else found.eta

    def _describe(self, token: str, data: bytes | None, file: int) -> dict[str, object]:
        if data is None:
            return {"token": None}
        with os.fdopen(os.dup(file), "wb") as out:
            out.write(data)
        try:
            found = self._huey.deserialize_task(data)
        except Exception as problem:
            return {"token": token, "id": None, "task": None, "unreadable": repr(problem)[:500]}
        return {
            "token": token,
            "id": str(found.id),
            "task": self._huey._registry.task_to_string(type(found)),
            "retries": found.retries,
            "words": _plain(getattr(found, "qmrunner", None)),
        }

    def _put(self, step: str, folder: str) -> None:
        end = done.read(folder)
        if end["outbox"]:
            self._storage.put_once(step, [storages.Item.from_json(item) for item in end["outbox"]])
        for key in end["deletes"]:
            self._huey.storage.delete_data(key)

    def _about(self) -> dict[str, object]:
        import huey

        return {
            "pid": os.getpid(),
            "queue": self._huey.name,
            "storage": type(self._huey.storage).__name__,
            "guarantee": self._storage.guarantee,
            "isolation": self._isolation,
            "workers": self._consumer.workers,
            "import_s": round(self._import_s, 3),
            "pending": self._huey.storage.queue_size(),
            "scheduled": self._huey.storage.schedule_size(),
            "huey": getattr(huey, "__version__", None),
            "python": sys.version.split()[0],
        }


def _close_all_but(kept: set[int]) -> None:
    """Close what the guardian opened: a lock that a task inherited would look like a living guardian."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept and int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the descriptor of the listing itself


def _plain(words: Any) -> Any:
    """The options that a task declares, as far as JSON can carry them."""
    try:
        return json.loads(json.dumps(words))
    except (TypeError, ValueError):
        return repr(words)[:200]
