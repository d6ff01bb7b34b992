"""Looks at the store once per page and second, for all its viewers, and sends each of them what changed.

A topic is a page with its query and the scope of its viewers. Its parts are rendered in a thread; only parts that
changed are sent. Every viewer first receives the parts it lacks, so that nothing is missed between page and stream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from qmrunner.api.access import Caller, still_valid
from qmrunner.api.service import Service
from qmrunner.api.shares import CLIENT
from qmrunner.errors import NotFoundError, QmrunnerError
from qmrunner.logs import get as get_logger
from qmrunner.store.session import StoreUnavailable
from qmrunner.web import render
from qmrunner.web.look import Ask, Page

EVERY_S = 1.0
# Of a page whose thing has ended, which only a person moves again.
QUIET_EVERY_S = 5.0
BEAT_S = 2.0
# A look that takes long is taken less often: no topic uses more than this share of a core.
_BUSIEST = 0.05
_RETRY_MS = 1000
_AWAY_S = 3.0  # how long the store may be silent before viewers learn it


@dataclass(slots=True)
class Seen:
    """The newest state of a topic. `problem` is the error of the last look, None when it succeeded."""

    parts: dict[str, str] = field(default_factory=dict)
    version: str = ""
    events: dict[str, Any] = field(default_factory=dict)
    problem: dict[str, Any] | None = None
    since: float = 0.0
    gone: bool = False


class Looker:
    """Collects the facts of a page, and renders them only when they differ from the last ones."""

    def __init__(self, page: Page, ask: Ask, context: dict[str, Any]) -> None:
        self.quiet = False
        self._page, self._ask, self._context = page, ask, context
        self._last: tuple[str, dict[str, str]] = ("", {})

    def __call__(self) -> tuple[dict[str, str], dict[str, Any]]:
        facts = self._page.facts(self._ask)
        self.quiet = facts.get("ended") is True
        state = json.dumps(facts, sort_keys=True, default=str)
        if state != self._last[0]:
            self._last = (state, render.blocks(self._page.template, {**self._context, **facts, "now": None}))
        more = self._page.more
        return self._last[1], {} if more is None else more(self._ask)


class Topic:
    """One page under watch. `changed` is replaced each time something changed."""

    def __init__(self, look: Looker) -> None:
        self.look = look
        self.seen = Seen()
        self.viewers = 0
        self.changed = asyncio.Event()
        self.woken = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Hub:
    """All topics of one server. Used by its event loop only."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._topics: dict[str, Topic] = {}
        self._valid: dict[Caller, tuple[float, bool]] = {}

    def wake(self) -> None:
        """Look now: this server has just changed something."""
        for topic in self._topics.values():
            topic.woken.set()

    async def close(self) -> None:
        """End all looks."""
        tasks = [topic.task for topic in self._topics.values() if topic.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(
        self, page: Page, ask: Ask, context: dict[str, Any], caller: Caller, known: str
    ) -> AsyncIterator[bytes]:
        """The stream of one viewer, whose page shows the parts of version `known`.

        It ends with the server, the caller's token or the thing that the page is about.
        """
        name = json.dumps([page.path, dict(ask.path), dict(ask.query), ask.scope], sort_keys=True)
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(Looker(page, ask, context))
        topic.viewers += 1
        try:
            if topic.task is None:
                topic.task = asyncio.create_task(self._watch(topic))
            yield f"retry: {_RETRY_MS}\n\n".encode()
            async for chunk in self._stream(topic, caller, known):
                yield chunk
        finally:
            topic.viewers -= 1
            if topic.viewers == 0:
                self._topics.pop(name, None)
                if topic.task is not None:
                    topic.task.cancel()

    async def _stream(self, topic: Topic, caller: Caller, known: str) -> AsyncIterator[bytes]:
        sent: dict[str, str] = {}
        events: dict[str, Any] = {}
        problem: dict[str, Any] | None = None
        beat_at = 0.0
        while True:
            seen, changed = topic.seen, topic.changed
            if seen.version and (not sent or sent != seen.parts):
                parts = seen.parts if not sent else {n: html for n, html in seen.parts.items() if sent.get(n) != html}
                if sent or seen.version != known:
                    yield _event("parts", {"version": seen.version, "parts": parts})
                sent = seen.parts
            for name, value in seen.events.items():
                if events.get(name) != value:
                    yield _event(name, value)
            events = seen.events
            if seen.problem != problem:
                problem = seen.problem
                yield _event("blind", {"problem": problem, "since": seen.since})
            if seen.gone:
                yield _event("end", {"reason": "gone"})
                return
            if time.monotonic() - beat_at >= BEAT_S:
                if not await self._may(caller):
                    yield _event("end", {"reason": "token_refused"})
                    return
                beat_at = time.monotonic()
                yield _event("beat", {"now": round(self._service.app.store.now(), 3)})
            try:
                async with asyncio.timeout(max(0.05, beat_at + BEAT_S - time.monotonic())):
                    await _first(changed, self._service.stopping)
            except TimeoutError:
                pass
            if self._service.stopping.is_set():
                yield _event("end", {"reason": "server_stops"})
                return

    async def _may(self, caller: Caller) -> bool:
        """Whether the caller's token or session still counts; asked once for all its streams."""
        at, valid = self._valid.get(caller, (0.0, False))
        if time.monotonic() - at < 0.75 * BEAT_S:
            return valid
        if len(self._valid) > 1000:
            self._valid.clear()
        try:
            valid = await still_valid(self._service, caller)
        except StoreUnavailable:
            return True  # the stream shows nothing new meanwhile
        self._valid[caller] = (time.monotonic(), valid)
        return valid

    async def _watch(self, topic: Topic) -> None:
        CLIENT.set("pages")
        while not topic.seen.gone:
            topic.woken.clear()
            began = time.monotonic()
            await self._look(topic)
            every = QUIET_EVERY_S if topic.look.quiet else EVERY_S
            pause = max(every, (time.monotonic() - began) / _BUSIEST)
            try:
                async with asyncio.timeout(min(pause, 10.0)):
                    await topic.woken.wait()
            except TimeoutError:
                pass

    async def _look(self, topic: Topic) -> None:
        old = topic.seen
        try:
            parts, events = await self._service.ask(topic.look)
        except NotFoundError:
            topic.seen = Seen(old.parts, old.version, old.events, gone=True)
        except QmrunnerError as problem:
            since = old.since or time.time()
            error = problem.as_dict() if time.time() - since >= _AWAY_S or old.problem else None
            topic.seen = Seen(old.parts, old.version, old.events, error, since)
        except Exception as problem:
            get_logger().error("internal_error", error=repr(problem), exc_info=problem)
            topic.seen = Seen(old.parts, old.version, old.events, gone=True)
        else:
            topic.seen = Seen(parts, render.version(parts), events)
        if topic.seen != old:
            topic.tell()


async def _first(*events: asyncio.Event) -> None:
    """Returns when one of these is set."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, default=str)}\n\n".encode()
