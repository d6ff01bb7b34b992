"""Places that clients share: threads, checks, uploads, streams. No client can prevent another from getting its first
place."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from qmrunner.api.errors import TooMany
from qmrunner.errors import NotReadyError, QmrunnerError

# The client whose share this request uses: a token, or an address where no token is needed. The gate sets it.
CLIENT: ContextVar[str] = ContextVar("CLIENT", default="server")


class Shares:
    """`total` places, at most `share` of them for one client. One event loop; no threads.

    The last `kept` free places go only to clients that hold none. A request without a place waits, at most `waiting`
    requests per client; a free place goes to the waiting client that holds the fewest, in turns among equals.
    """

    def __init__(self, name: str, total: int, share: int, *, kept: int = 1, waiting: int = 0) -> None:
        self.name = name
        self.total = total
        self.share = share
        self.taken = 0
        self.refused = 0
        self._kept = kept
        self._most_waiting = waiting
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, seconds: float = 0.0) -> AsyncIterator[None]:
        """A place for this request's client; waits at most `seconds` for one. Raises TooMany `too_many_<name>` if the
        client uses its whole share, NotReadyError `busy` if other clients use all places."""
        client = CLIENT.get()
        if not self._waiting.get(client) and self._may(client):
            self._take(client)
        else:
            await self._wait(client, seconds)
        try:
            yield
        finally:
            self._leave(client)

    def _may(self, client: str) -> bool:
        held, free = self._held[client], self.total - self.taken
        return held < self.share and free > (self._kept if held else 0)

    def _take(self, client: str) -> None:
        self.taken += 1
        self._held[client] += 1

    def _leave(self, client: str) -> None:
        self.taken -= 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._deal()

    def _deal(self) -> None:
        while waiting := [client for client in self._waiting if self._may(client)]:
            client = min(
                waiting, key=lambda candidate: self._held[candidate]
            )  # the first of equals, so that they take turns
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # at the end
            if not turn.done():
                self._take(client)
                turn.set_result(None)

    async def _wait(self, client: str, seconds: float) -> None:
        turns = self._waiting.get(client, deque())
        if len(turns) >= self._most_waiting or seconds <= 0:
            raise self._none_left(client)
        turn = asyncio.get_running_loop().create_future()
        turns.append(turn)
        self._waiting[client] = turns
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await turn
        except BaseException as problem:
            if turn.done() and not turn.cancelled():
                self._leave(client)  # the place was granted at the same moment
            else:
                self._forget(client, turn)
            if isinstance(problem, TimeoutError):
                raise self._none_left(client) from None
            raise

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(client)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[client]

    def _none_left(self, client: str) -> QmrunnerError:
        self.refused += 1
        if self._held[client]:
            word = self.name.replace("_", " ")
            return TooMany(
                f"too_many_{self.name}",
                f"this client already uses its share of {word}: {self._held[client]} of {self.total}",
                f"wait until some of your {word} end, or retry later",
                5,
            )
        return NotReadyError("busy", "the server is busy with other requests", remedy="retry later")
