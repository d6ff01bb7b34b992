"""Limits the request rate of each client with a token bucket."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_CLIENTS = 10_000


class Rate:
    """Allows `per_minute` requests at once, and as many again each minute. For one process without threads."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._per_s = per_minute / 60.0
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        self.refused = 0

    def take(self, client: str) -> int | None:
        """None: the request is allowed. Otherwise the whole seconds after which this client may retry."""
        now = self._clock()
        left, then = self._left.get(client, (self._most, now))
        left = min(self._most, left + (now - then) * self._per_s)
        if left < 1.0:
            self.refused += 1
            return max(1, math.ceil((1.0 - left) / self._per_s))
        if len(self._left) >= _CLIENTS:
            self._forget(now)
        self._left[client] = (left - 1.0, now)
        return None

    def _forget(self, now: float) -> None:
        """Forget clients whose bucket is full again; if no bucket is full, forget all."""
        full = [
            client for client, (left, then) in self._left.items() if left + (now - then) * self._per_s >= self._most
        ]
        for client in full or list(self._left):
            del self._left[client]
