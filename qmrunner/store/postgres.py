"""Connections to a PostgreSQL server: how long to wait for it, how to notice that it is gone, and its clock."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

from qmrunner.errors import NotReadyError

# A disconnected server sends no response, not even an error: without these a query waits for two hours.
# Source: libpq's connection parameters. Unacknowledged bytes count from the first second, silence from the first
# keepalive.
_LIVENESS = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 12000,
    "application_name": "qmrunner",
}
# The same on the server's side: else the server keeps the locks of a transaction whose client was disconnected.
_SERVER_LIVENESS = {
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 12000,
}
# Until PostgreSQL has statistics of a new store, about a minute, it takes every table for tiny. It then prefers a full
# scan per row of another table to its index (600 ready steps took 19 ms instead of 2, measured with 15.18), or reads
# the bitmap of all ready steps again for each of their jobs (1,600 took 142 ms instead of 3). The store is small and in
# memory, where a random page costs hardly more than the next one, and no query of ours needs a bitmap.
_PLANS = {"random_page_cost": 1.1, "enable_bitmapscan": "off"}
_CONNECT_SECONDS = 10.0
_STATEMENT_SECONDS = 60.0
# A process that is frozen inside a transaction holds its locks for so long; other machines wait for them. Our own
# transactions compute and rename files between two statements, for a fraction of a second.
_IDLE_SECONDS = 20.0
# Clocks of computers drift apart by less than a millisecond in that time.
_CLOCK_SECONDS = 60.0


def engine(url: URL, busy_seconds: float, connections: int) -> Engine:
    """`busy_seconds` is how long a statement waits for a lock, and a thread for one of the `connections`.

    Every parameter that the URL sets itself is left as it is. Raises NotReadyError when the driver is not installed.
    """
    limits = {
        "statement_timeout": max(busy_seconds, _STATEMENT_SECONDS) if busy_seconds >= 30.0 else 2 * busy_seconds,
        "lock_timeout": busy_seconds,
        "idle_in_transaction_session_timeout": _IDLE_SECONDS,
    }
    there = {name: int(1000 * seconds) for name, seconds in limits.items()} | _SERVER_LIVENESS | _PLANS
    wanted: dict[str, Any] = {
        **_LIVENESS,
        "connect_timeout": max(2, math.ceil(min(busy_seconds, _CONNECT_SECONDS))),
        "options": " ".join(f"-c {name}={value}" for name, value in there.items()),
    }
    try:
        made = create_engine(
            url,
            pool_pre_ping=True,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=busy_seconds,
            pool_use_lifo=True,
            connect_args={name: value for name, value in wanted.items() if name not in url.query},
        )
    except ModuleNotFoundError as missing:
        raise NotReadyError(
            "store_driver_missing",
            f"the driver for {url.get_backend_name()} is not installed",
            evidence=str(missing),
            remedy="install the optional part: `pip install 'qmrunner[postgres]'`",
        ) from None
    event.listen(made, "connect", _allow_nul)
    return made


def storable(value: Any) -> Any:
    """A value that PostgreSQL can store: text without the character NUL, which engines do print."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _allow_nul(connection: Any, _record: Any) -> None:
    """Send text through `storable`. In JSON the character is escaped, and kept."""
    connection.adapters.register_dumper(str, _dumper())


@cache
def _dumper() -> Any:
    from psycopg.types.string import StrDumperUnknown

    class Storable(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(storable(obj))

    return Storable


class Clock:
    """The server's time: read when a connection is made or taken from the pool, then extrapolated by a clock that is
    never set."""

    def __init__(self, engine: Engine) -> None:
        self._asked: float | None = None
        self._ahead = 0.0  # of CLOCK_BOOTTIME
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkout", self._taken)

    def now(self) -> float:
        """Unix seconds; this machine's own before the first connection."""
        return time.time() if self._asked is None else _steady() + self._ahead

    def _connected(self, connection: Any, _record: Any) -> None:
        self._ask(connection)

    def _taken(self, connection: Any, _record: Any, _proxy: Any) -> None:
        if self._asked is None or _steady() - self._asked > _CLOCK_SECONDS:
            self._ask(connection)

    def _ask(self, connection: Any) -> None:
        began = _steady()
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            found = float(cursor.fetchone()[0])
        connection.rollback()
        ended = _steady()
        self._asked, self._ahead = ended, found - (began + ended) / 2


def _steady() -> float:
    """A clock that runs during suspend and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
