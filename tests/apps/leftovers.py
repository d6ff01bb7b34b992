"""What the storage of an application still holds, as the application itself sees it: in each kind of storage."""

from __future__ import annotations

import json
from typing import Any

from tests.apps.conftest import Lab

_CODE = """
import os
from qmrunner.apps.side import storages
moves, inner = storages.of(huey.storage), huey.storage
if hasattr(inner, "queue_key"):
    taken, put = inner.conn.hlen(moves._taken), inner.conn.scard(moves._put)
    in_hash = [] if callable(inner.result_key) else inner.conn.hkeys(inner.result_key)
    locks = [key.decode() for key in [*in_hash, *inner.conn.keys()]]
elif hasattr(inner, "queue_path"):
    taken, put = len(os.listdir(moves._taken)), len(os.listdir(moves._put))
    paths = [os.path.join(root, name) for root, _, names in os.walk(inner.result_path) for name in names]
    locks = [open(path, "rb").read().decode("latin-1") for path in paths]
else:
    taken, put = moves._ask("select count(*) from {taken}")[0][0], moves._ask("select count(*) from {put}")[0][0]
    table = "kv" if "Sqlite" in type(inner).__name__ else inner.table_kv
    locks = [key for key, in moves._ask(f"select key from {table} where queue = ?", inner.name)]
locks = [key for key in locks if ".lock." in key or "qmrunner.chord" in key]
found = {"queue": len(huey), "schedule": huey.scheduled_count(), "taken": taken, "put": put, "locks": locks}
print(json.dumps({name: value for name, value in found.items() if value}))
"""


def of(lab: Lab) -> dict[str, Any]:
    """Messages, taken ones, ids of sent ones, and locks; empty when nothing is left."""
    found: dict[str, Any] = json.loads(lab._run(_CODE))
    return found
