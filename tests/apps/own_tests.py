"""`python -m tests.apps.own_tests sqlite`: Huey's own tests, their tasks run as qmrunner's task process runs them.

`Huey.execute` becomes what happens to one task under qmrunner, in this process: the journal around the body, the outbox
behind it, then the host's `put_once`. With `sqlite`, `Huey.dequeue` is `take` and `ack`, too. `again-sqlite`: every
task runs as if its process had been killed at the end of its epilogue, and a second attempt followed. `plain-sqlite`
and `plain-memory` change nothing but the storage. Prints a line of JSON: how each test ended.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
import os
import sys
import tempfile
import threading
import types
import unittest
import uuid
from typing import Any

import huey
from huey import api as huey_api

from qmrunner.apps.side import done, locks, storages
from qmrunner.apps.side.task import TaskRun
from qmrunner.guardian.process import Order

MODULES = ("api", "signals", "priority", "wrappers", "helpers", "stats", "asyncio")
# Its `__init__` imports the tests of all storages; in 2.5 one of them asks a Redis server for its version.
_tests = types.ModuleType("huey.tests")
_tests.__path__ = [os.path.join(os.path.dirname(huey.__file__), "tests")]
sys.modules["huey.tests"] = _tests
huey_base = importlib.import_module("huey.tests.base")
AGAIN = "again" in sys.argv[1]
_execute, _dequeue = huey_api.Huey.execute, huey_api.Huey.dequeue


def execute(self: Any, task: Any, timestamp: Any = None) -> Any:
    """One task: what `TaskRun.run` does, and what the host does at its end."""
    if self.immediate or threading.current_thread() is not threading.main_thread():
        return _execute(self, task, timestamp)
    step = f"{uuid.uuid4().hex}/task"
    with tempfile.TemporaryDirectory() as root:
        if AGAIN:
            message = self.serialize_task(task)
            _attempt(self, task, timestamp, step, root, 1)
            task = self.deserialize_task(message)
        value, outbox = _attempt(self, task, timestamp, step, root, 2 if AGAIN else 1)
    _put(self, step, outbox)
    return value


def _attempt(app: Any, task: Any, timestamp: Any, step: str, root: str, number: int) -> tuple[Any, Any]:
    """What one process does. What the epilogue sends is in the outbox that is returned."""
    folder, previous = (os.path.join(root, str(one)) for one in (number, number - 1))
    os.mkdir(folder)
    asked = {
        "message": base64.b64encode(b"").decode(),
        "step": step,
        "earlier": {"folder": os.path.join(root, "{number}"), "marker": step + "/{number}", "attempts": number - 1},
        "previous": previous if os.path.exists(os.path.join(previous, done.OUTCOME)) else None,
        "died": None,
        "rerun": "always",
        "as": None,
        "fence": False,
    }
    done.write(folder, done.TASK, asked)
    run = TaskRun(app, Order([], {}, folder, "log", f"{step}/{number}", 1.0, 1.0, 0))
    answers: list[Any] = []
    own = dict(vars(app.storage)), dict(vars(app))
    run._outbox.intercept(run._on_signal)

    def original(one: Any, at: Any = timestamp, **named: Any) -> Any:
        """For this task, and for one that its body executes itself."""
        answers.append(_execute(app, one, named.get("timestamp", at)))
        return answers[-1]

    app.execute = original
    body = vars(task).get("execute")
    try:
        run._execute(task)
    finally:
        _restore(app.storage, own[0])
        _restore(app, own[1])
        locks.disown()
        if body is None:
            vars(task).pop("execute", None)
    return answers[-1] if answers else None, run._outbox


_JUDGED = ("is_revoked", "_run_pre_execute")


def _restore(changed: Any, own: dict[str, Any]) -> None:
    for name in ("enqueue", "add_to_schedule", "_emit", "_check_chord", "execute", *_JUDGED):
        if name in own:
            vars(changed)[name] = own[name]
        else:
            vars(changed).pop(name, None)


def _put(app: Any, step: str, outbox: Any) -> None:
    """As the host does, from what is written to `done.json`."""
    items = [storages.Item.from_json(item.as_json()) for item in outbox.items]
    moves = _moves(app)
    if moves is not None:
        assert moves.put_once(step, items)
        assert not moves.put_once(step, items)
        moves.forget(step)
    else:
        for item in items:
            if item.at is None:
                app.storage.enqueue(item.data, item.priority)
            else:
                app.storage.add_to_schedule(item.data, item.at)
    for key in outbox.deletes:
        app.storage.delete_data(key)


@functools.cache
def _known(storage: Any) -> Any:
    moves = storages.of(storage)
    moves.prepare()
    return moves


def _moves(app: Any) -> Any:
    """The moves of this storage; None for one in memory, which only tests may use."""
    return _known(app.storage) if isinstance(app.storage, huey_api.SqliteStorage) else None


def dequeue(self: Any) -> Any:
    moves = _moves(self)
    if moves is None:
        return _dequeue(self)
    taken = moves.take("owner")
    if taken is None:
        return None
    token, data = taken
    assert moves.read(token) == data
    moves.ack(token)
    return self.deserialize_task(data)


def main() -> int:
    kind = sys.argv[1]
    if "sqlite" in kind:
        files = tempfile.mkdtemp()

        def get_huey(self: Any) -> Any:
            return huey.SqliteHuey(filename=os.path.join(files, uuid.uuid4().hex), utc=False)

        huey_base.BaseTestCase.get_huey = get_huey
    if not kind.startswith("plain"):
        huey_api.Huey.execute = execute
        huey_api.Huey.dequeue = dequeue
    suite = unittest.TestSuite()
    for name in MODULES:
        if os.path.exists(os.path.join(_tests.__path__[0], f"test_{name}.py")):  # 2.5 has not all of them
            module = importlib.import_module(f"huey.tests.test_{name}")
            suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(suite)
    ends = {test.id(): text.strip().splitlines()[-1] for test, text in [*result.failures, *result.errors]}
    skipped = [test.id() for test, _ in result.skipped]
    print(json.dumps({"huey": huey.__version__, "run": result.testsRun, "failed": ends, "skipped": len(skipped)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
