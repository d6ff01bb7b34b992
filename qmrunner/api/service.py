"""Shared by all requests: the app, the limits, and access to the store that never hangs."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.requests import HTTPConnection

from qmrunner.api.rate_limit import Rate
from qmrunner.api.shares import Shares
from qmrunner.api.traces import Traces
from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.store.session import StoreUnavailable

T = TypeVar("T")
# At most as many as App.store has connections, so that no request waits for one.
_AT_ONCE = 12
_ANSWER_S = 10.0
_SLOW_S = 120.0


class Service:
    """One server. `trusts_everybody`: it listens on loopback only, where it admits every caller if the store has no
    tokens. `user`: it listens on a Unix socket that only this user can open, and every caller is that user."""

    def __init__(self, app: App, *, trusts_everybody: bool, user: str | None = None) -> None:
        self.app = app
        self.trusts_everybody = trusts_everybody
        self.user = user
        self.stopping = asyncio.Event()
        self.rate = Rate(app.settings.api_rate_per_minute)
        self.streams = Shares("streams", 200, 50, kept=20)
        self.downloads = Shares("downloads", 100, 25, kept=10, waiting=100)
        self.uploads = Shares("uploads", 12, 4, kept=2, waiting=32)
        self.questions = Shares("questions", _AT_ONCE, 4, kept=2, waiting=1000)
        self.structures: OrderedDict[str, str] = OrderedDict()  # of searches, in canonical form
        self.traces = Traces()
        self.examined: tuple[float, dict[str, Any]] | None = None  # the doctor's last report, and when
        self.requests: Counter[tuple[str, str, str]] = Counter()  # method, route, status
        self._limiter = CapacityLimiter(_AT_ONCE)
        self._slow = CapacityLimiter(1)

    async def ask(self, work: Callable[[], T]) -> T:
        """The result of `work`, which reads or writes store or files in a thread.

        Raises StoreUnavailable when that takes too long, for example with an unreachable server: the thread then ends
        by its own time-outs. Raises as `Shares.place` does.
        """
        try:
            with anyio.fail_after(_ANSWER_S):
                async with self.questions.place(math.inf):
                    return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        except (TimeoutError, NoConnectionFree):
            raise StoreUnavailable(
                "store_unavailable",
                "the store does not answer",
                evidence=f"no reply within {_ANSWER_S:g} s",
                remedy="try again later; check that the database server runs and that its disk is not full",
            ) from None

    async def slow(self, work: Callable[[], T]) -> T:
        """The result of `work` that runs other programs or reads whole folders: one at a time, within two minutes.

        Raises NotReadyError `busy` when it takes longer; the thread then ends by its own time-outs.
        """
        try:
            with anyio.fail_after(_SLOW_S):
                return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._slow)
        except TimeoutError:
            raise NotReadyError("busy", "the server is busy with this machine", remedy="retry later") from None

    async def pause(self, seconds: float) -> bool:
        """Wait for this many seconds. Returns True immediately when the server stops."""
        try:
            async with asyncio.timeout(seconds):
                return await self.stopping.wait()
        except TimeoutError:
            return False


def service_of(connection: HTTPConnection) -> Service:
    found: Service = connection.app.state.service
    return found
