"""The moves in Huey's file storage: renames under Huey's own lock.

Messages that are sent are written under names that Huey does not read; the rename of a list of them is the commit,
and a host that finds such a list completes it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from typing import Any

from qmrunner.apps.side import watch
from qmrunner.apps.side.storages import FULL, Item, new_token

_HIDDEN = ".tmp"  # the suffix of files that Huey skips


class Files:
    guarantee = FULL

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._taken = os.path.join(storage.path, "qmrunner_taken")
        self._put = os.path.join(storage.path, "qmrunner_put")

    def prepare(self) -> None:
        for folder in (self._taken, self._put, self._storage.queue_path, self._storage.schedule_path):
            os.makedirs(folder, exist_ok=True)
        with self._storage.lock:
            for name in os.listdir(self._put):
                if not name.endswith(_HIDDEN):
                    self._complete(os.path.join(self._put, name))

    def watch(self) -> int | None:
        return watch.folder(self._storage.queue_path)

    def keep_open(self) -> int | None:
        return None

    def ready(self) -> bool:
        return bool(self._storage._get_sorted_filenames(self._storage.queue_path))

    def take(self, owner: str) -> tuple[str, bytes] | None:
        with self._storage.lock:
            names = self._storage._get_sorted_filenames(self._storage.queue_path)
            if not names:
                return None
            token = f"{names[0]}-{new_token()}"
            target = os.path.join(self._taken, f"{token}@{owner}")
            os.rename(os.path.join(self._storage.queue_path, names[0]), target)
        with open(target, "rb") as file:
            return token, file.read()

    def taken(self, owner: str) -> list[str]:
        names = sorted(os.listdir(self._taken))
        return [name.rpartition("@")[0] for name in names if name.rpartition("@")[2] == owner]

    def _path(self, token: str) -> str | None:
        found = [name for name in os.listdir(self._taken) if name.rpartition("@")[0] == token]
        return os.path.join(self._taken, found[0]) if found else None

    def read(self, token: str) -> bytes | None:
        path = self._path(token)
        if path is None:
            return None
        with open(path, "rb") as file:
            return file.read()

    def ack(self, token: str) -> None:
        path = self._path(token)
        if path is not None:
            os.unlink(path)

    def to_schedule(self, token: str, item: Item) -> None:
        path = self._path(token)
        if path is not None:
            with self._storage.lock:
                os.rename(path, self._free_path(item))

    def due(self, now: datetime.datetime) -> list[tuple[Any, bytes]]:
        limit = self._storage._timestamp_to_prefix(now)
        found = []
        for name in self._storage._get_sorted_filenames(self._storage.schedule_path):
            if name[:12] <= limit:
                path = os.path.join(self._storage.schedule_path, name)
                try:
                    with open(path, "rb") as file:
                        found.append((path, file.read()))
                except FileNotFoundError:
                    continue  # another process was faster
        return found

    def move(self, found: Any, item: Item) -> bool:
        with self._storage.lock:
            try:
                os.rename(found, self._free_path(item))
            except FileNotFoundError:
                return False
        return True

    def put_once(self, put_id: str, items: list[Item]) -> bool:
        record = os.path.join(self._put, hashlib.sha256(put_id.encode()).hexdigest())
        with self._storage.lock:
            if os.path.exists(record):
                self._complete(record)
                return False
            moves = []
            for item in items:
                hidden = os.path.join(self._put, f"{new_token()}{_HIDDEN}")
                _write(hidden, item.data)
                at = None if item.at is None else item.at.isoformat()
                moves.append([hidden, item.priority, at])
            _write(f"{record}{_HIDDEN}", json.dumps([put_id, moves]).encode())
            os.rename(f"{record}{_HIDDEN}", record)
            self._complete(record)
        return True

    def _complete(self, record: str) -> None:
        """Move the messages of a list to where they belong, those that are not there yet."""
        with open(record) as file:
            _, moves = json.load(file)
        for hidden, priority, at in moves:
            item = Item(b"", priority, None if at is None else datetime.datetime.fromisoformat(at))
            try:
                os.rename(hidden, self._free_path(item))
            except FileNotFoundError:
                continue  # moved before

    def sent(self) -> list[str]:
        found = []
        for name in os.listdir(self._put):
            if not name.endswith(_HIDDEN):
                with open(os.path.join(self._put, name)) as file:
                    found.append(json.load(file)[0])
        return found

    def forget(self, put_id: str) -> None:
        try:
            os.unlink(os.path.join(self._put, hashlib.sha256(put_id.encode()).hexdigest()))
        except FileNotFoundError:
            pass  # nothing was sent

    def _free_path(self, item: Item) -> str:
        """A free name as Huey gives them: ordered by priority and time, or by the time to run."""
        storage = self._storage
        if item.at is None:
            first = storage.MAX_PRIORITY - int(item.priority or 0)
            base = os.path.join(storage.queue_path, f"{first:04x}-{int(time.time() * 1000):012x}")
        else:
            base = os.path.join(storage.schedule_path, storage._timestamp_to_prefix(item.at))
        path, conflict = base, 0
        while os.path.exists(path):
            conflict += 1
            path = f"{base}.{conflict:03d}"
        return path


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
