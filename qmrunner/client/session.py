"""Requests that survive outages and restarts of the server, and streams that resume where they broke."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from qmrunner.client.refusals import (
    content_of,
    delay_of,
    error_of,
    fields_of,
    passes,
    too_large,
    unreachable,
    untrusted,
)  # fmt: skip
from qmrunner.client.wire import LONGEST_LINE, Refused, Wire
from qmrunner.errors import QmrunnerError, UsageError

_FIRST_S, _LONGEST_S = 0.1, 10.0
Notice = Callable[[QmrunnerError], None]


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    identity: str | None
    data: dict[str, Any]


class Attempts:
    """Decides after each failure whether to try again: until `patience` seconds after the first of a row of failures,
    None for ever."""

    def __init__(self, session: Session, patience: float | None, notice: Notice | None) -> None:
        self._session, self._patience, self._notice = session, patience, notice
        self._until: float | None = None
        self._delay = _FIRST_S
        self.lost = False  # an answer was lost, so that the request may have been served

    def good(self) -> None:
        """The server has answered."""
        self._until, self._delay = None, _FIRST_S

    async def after(self, problem: httpx.TransportError | Refused | QmrunnerError) -> None:
        """Wait for the next try. Raises QmrunnerError if there is none."""
        wait = self._delay * random.uniform(0.75, 1.25)
        if isinstance(problem, QmrunnerError):
            error = problem
        elif isinstance(problem, Refused):
            error = error_of(problem.answer)
            if not passes(problem.answer, error, patient=self._patience is None):
                raise error from None
            wait = max(wait, delay_of(problem.answer))
        else:
            refused = untrusted(self._session.where, problem)
            if refused is not None or isinstance(problem, httpx.UnsupportedProtocol):
                raise (refused or _bad_address(self._session.where)) from None
            error = unreachable(self._session.where, problem)
            self.lost = self.lost or not isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout)
        if self._patience is not None:
            self._until = self._until or time.monotonic() + self._patience
            if time.monotonic() + wait > self._until:
                raise error from None
        if self._notice is not None:
            self._notice(error)
        self._delay = min(_LONGEST_S, 2 * self._delay)
        await self._session.wire.sleep(wait)


class Session:
    """Requests to one server. `patience`: seconds for which a request is repeated while the server does not answer."""

    def __init__(self, wire: Wire, where: str, patience: float) -> None:
        self.wire, self.where, self.patience = wire, where, patience

    async def ask(
        self, method: str, path: str, *, forever: bool = False, notice: Notice | None = None, **parts: Any
    ) -> httpx.Response:
        """The good answer. Repeats the request through outages; so it must be one that may be served twice.

        Raises QmrunnerError with the code of the server, or `server_unreachable`.
        """
        attempts = Attempts(self, None if forever else self.patience, notice)
        while True:
            try:
                answer = await self.wire.send(method, path, **parts)
                if answer.is_success:
                    return answer
                await attempts.after(Refused(answer))
            except httpx.TransportError as problem:
                await attempts.after(problem)

    async def json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        return content_of(await self.ask(method, path, **parts))

    async def act(self, path: str, params: Mapping[str, Any]) -> None:
        """Send an action once: if its answer was lost and it now finds the job moved, the first request moved it."""
        attempts = Attempts(self, self.patience, None)
        while True:
            try:
                answer = await self.wire.send("POST", path, params=params)
                if answer.is_success or (attempts.lost and error_of(answer).code == "wrong_state"):
                    return
                await attempts.after(Refused(answer))
            except httpx.TransportError as problem:
                await attempts.after(problem)

    async def follow(self, path: str, last: str | None = None) -> AsyncGenerator[Event]:
        """The events of a stream to its end, each once: after a broken connection it resumes after the last one."""
        attempts = Attempts(self, None, None)
        while True:
            headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
            try:
                async with aclosing(_events(self.wire.stream("GET", path, headers=headers), self.where)) as events:
                    async for event in events:
                        attempts.good()
                        if event.name == "end" and "reason" not in event.data:
                            return
                        if event.name == "end":
                            break
                        last = event.identity or last
                        yield event
                await self.wire.sleep(_FIRST_S)
            except Refused as problem:
                if problem.answer.status_code == 204:
                    return
                await attempts.after(problem)
            except httpx.TransportError as problem:
                await attempts.after(problem)


async def _events(lines: AsyncGenerator[str], where: str) -> AsyncGenerator[Event]:
    """Complete events only: one that the end of the connection cuts is sent again. `where` is for errors."""
    name, identity, data = "message", None, ""
    async with aclosing(lines):
        async for line in lines:
            field, _, value = line.partition(": ")
            if line == "":
                if data:
                    yield Event(name, identity, fields_of(data, where))
                name, identity, data = "message", None, ""
            elif field == "event":
                name = value
            elif field == "id":
                identity = value
            elif field == "data":
                data += value
                if len(data) > LONGEST_LINE:
                    raise too_large(where, LONGEST_LINE)


def _bad_address(where: str) -> UsageError:
    return UsageError("bad_address", f"{where} is not an address", remedy="as in Client('https://qm.example.org')")
