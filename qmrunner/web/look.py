"""A page as data: its address, its template, and the function that collects its facts.

Its route and its live parts need no other code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from qmrunner.app import App

# Which words of a query a page may have, at most so many and so long: they are part of the name of its live topic.
_MOST_WORDS, _LONGEST_WORD = 20, 1000


@dataclass(frozen=True, slots=True)
class Ask:
    """What a page is asked for: parts of its path, its query, and the scope of who looks."""

    app: App
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    scope: str
    live: bool = False  # for the stream: what only the page itself shows is left out
    given: Any = None  # what `Page.prepare` made

    def word(self, name: str, default: str = "") -> str:
        """The first word of this name in the query."""
        found = self.query.get(name)
        return found[0] if found else default

    def number(self, name: str) -> int | None:
        """A whole number of the query; None if there is none, or something else."""
        text = self.word(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


@dataclass(frozen=True, slots=True)
class Page:
    """`facts` reads the store and returns what the template needs; it raises QmrunnerError. `more` returns named events
    for scripts of the page, as JSON, beside the parts. `prepare` is asked first, in the event loop; its result is
    `Ask.given`."""

    path: str
    template: str
    facts: Callable[[Ask], dict[str, Any]]
    scope: str = "read"
    live: bool = True
    more: Callable[[Ask], dict[str, Any]] | None = None
    prepare: Callable[[Request, Ask], Awaitable[Any]] | None = None


def query_of(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The query as words by name, bounded."""
    found: dict[str, list[str]] = {}
    for name, value in pairs[:_MOST_WORDS]:
        found.setdefault(name[:50], []).append(value[:_LONGEST_WORD])
    return found
