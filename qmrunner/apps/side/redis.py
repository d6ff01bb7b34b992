"""The moves in Redis: one script each. Taken messages and ids of sent ones are hashes and sets that never expire."""

from __future__ import annotations

import datetime
import struct
import time
from typing import Any

from qmrunner.apps.side.storages import FULL, Item, new_token

_OWNER = 40  # bytes of a taken value before the message
_SCHEDULE = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3]) end
return 1
"""
# ARGV: the id, then for each message its area (queue or schedule), score and member.
_PUT = """
if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 3 do
  if ARGV[i] == 'schedule' then redis.call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i + 2])
  else {add} end
end
return 1
"""
_MOVE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
{add}
return 1
"""


class List:
    """`RedisStorage` and `RedisExpireStorage`: the queue is a list."""

    guarantee = FULL
    _take = """
local data = redis.call('RPOP', KEYS[1])
if not data then return false end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. data)
return data
"""
    _put_add = "redis.call('LPUSH', KEYS[2], ARGV[i + 2])"
    _move_add = "redis.call('LPUSH', KEYS[2], ARGV[3])"

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._redis = storage.conn
        self._queue, self._schedule = storage.queue_key, storage.schedule_key
        self._taken = f"huey.qmrunner.taken.{storage.name}"
        self._put = f"huey.qmrunner.put.{storage.name}"
        script = self._redis.register_script
        self._scripts = {
            "take": script(self._take),
            "schedule": script(_SCHEDULE),
            "put": script(_PUT.format(add=self._put_add)),
            "move": script(_MOVE.format(add=self._move_add)),
        }

    def prepare(self) -> None:
        self._redis.ping()

    def watch(self) -> int | None:
        return None

    def keep_open(self) -> int | None:
        return None

    def ready(self) -> bool:
        return bool(self._storage.queue_size())

    def take(self, owner: str) -> tuple[str, bytes] | None:
        token = new_token()
        data = self._scripts["take"](keys=[self._queue, self._taken], args=[token, owner.ljust(_OWNER)[:_OWNER]])
        return None if data is None else (token, bytes(data))

    def taken(self, owner: str) -> list[str]:
        mine = owner.ljust(_OWNER)[:_OWNER].encode()
        return [token.decode() for token, data in self._redis.hgetall(self._taken).items() if data[:_OWNER] == mine]

    def read(self, token: str) -> bytes | None:
        data = self._redis.hget(self._taken, token)
        return None if data is None else bytes(data)[_OWNER:]

    def ack(self, token: str) -> None:
        self._redis.hdel(self._taken, token)

    def to_schedule(self, token: str, item: Item) -> None:
        score = self._storage.convert_ts(item.at)
        self._scripts["schedule"](keys=[self._taken, self._schedule], args=[token, score, item.data])

    def due(self, now: datetime.datetime) -> list[tuple[Any, bytes]]:
        found = self._redis.zrangebyscore(self._schedule, "-inf", self._storage.convert_ts(now))
        return [(data, bytes(data)) for data in found]

    def move(self, found: Any, item: Item) -> bool:
        _, score, member = self._member(item, 0)
        return bool(self._scripts["move"](keys=[self._schedule, self._queue], args=[found, score, member]))

    def put_once(self, put_id: str, items: list[Item]) -> bool:
        arguments: list[Any] = [put_id]
        for number, item in enumerate(items):
            arguments += self._member(item, number)
        return bool(self._scripts["put"](keys=[self._put, self._queue, self._schedule], args=arguments))

    def sent(self) -> list[str]:
        return [put_id.decode() for put_id in self._redis.smembers(self._put)]

    def forget(self, put_id: str) -> None:
        self._redis.srem(self._put, put_id)

    def _member(self, item: Item, number: int) -> tuple[str, float, bytes]:
        """Area, score and member of a message; `number` keeps the order of those that are sent together."""
        if item.at is not None:
            return "schedule", self._storage.convert_ts(item.at), item.data
        return "queue", 0, item.data


class SortedSet(List):
    """`PriorityRedisStorage` and `PriorityRedisExpireStorage`: members have a prefix of eight bytes, as Huey's."""

    _take = """
local found = redis.call('ZPOPMIN', KEYS[1])
if #found == 0 then return false end
local data = string.sub(found[1], 9)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. data)
return data
"""
    _put_add = "redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i + 2])"
    _move_add = "redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])"

    def _member(self, item: Item, number: int) -> tuple[str, float, bytes]:
        if item.at is not None:
            return super()._member(item, number)
        prefix = struct.pack(">Q", int(time.time() * 1e6) + number)
        return "queue", -(item.priority or 0), prefix + item.data
