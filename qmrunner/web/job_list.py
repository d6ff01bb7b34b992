"""The list of jobs: its query, its chips, and its pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import Request

from qmrunner.api.filters import settled
from qmrunner.errors import QmrunnerError
from qmrunner.model.job_filter import JobFilter
from qmrunner.model.states import JobState
from qmrunner.reports import jobs as reports
from qmrunner.reports import query
from qmrunner.web.look import Ask, Page

_ROWS = 100
_STATES = tuple(str(state) for state in JobState)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The query of a list as parsed, or the error in it."""

    parsed: query.Query
    filter: JobFilter
    problem: dict[str, Any] | None


async def wanted(request: Request, ask: Ask) -> Wanted:
    """The filter that the box of the page describes."""
    return await of_text(request, ask.word("q"), ask.app.store.now())


async def of_text(request: Request, text: str, now: float) -> Wanted:
    """The same for a text; an error in it is kept to be shown beside the box."""
    nothing = query.Query((), JobFilter())
    try:
        parsed = query.parse(text, now)
        return Wanted(parsed, await settled(request, parsed.filter), None)
    except QmrunnerError as problem:
        return Wanted(nothing, nothing.filter, problem.as_dict())


def facts(ask: Ask) -> dict[str, Any]:
    """One page of the list, the counts by state, and links to the pages beside it."""
    found: Wanted = ask.given
    text = ask.word("q")
    before = ask.number("before")
    shown: dict[str, Any] = {"jobs": [], "next": None, "count": {}}
    if found.problem is None:
        shown = reports.page(ask.app, _ROWS, found.filter, before=before, count=True)
    terms = found.parsed.terms
    states = [term.value for term in terms if term.key == "state"]
    rest = " ".join(str(term) for term in terms if term.key != "state")
    tabs = [("", "all", _link(rest))]
    tabs += [(state, state, _link(f"{rest} state:{state}".strip())) for state in _STATES]
    return {
        "nav": "jobs",
        "q": text,
        "asked": urlencode({"q": text}) if text else "",
        "problem": found.problem,
        "chips": [(str(term), _link(found.parsed.without(term))) for term in terms],
        "tabs": tabs,
        "states": states,
        "jobs": shown["jobs"],
        "count": shown.get("count") or {},
        "first": None if before is None else _link(text),
        "next": None if shown["next"] is None else _link(text, before=shown["next"]),
        "back": _link(text, before=before),
    }


def _link(text: str, before: object = None) -> str:
    words = {name: value for name, value in (("q", text), ("before", before)) if value}
    return f"/jobs?{urlencode(words)}" if words else "/jobs"


PAGES: Sequence[Page] = (Page("/jobs", "jobs.html", facts, prepare=wanted),)
