"""The pages of operators: workers, activity, system, tokens, files of a job, help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from markupsafe import Markup
from starlette.responses import RedirectResponse

from qmrunner.api import docpage
from qmrunner.api.access import SMALL_BODY, page_needs
from qmrunner.api.errors import status_of
from qmrunner.api.files import published_files
from qmrunner.api.service import service_of
from qmrunner.errors import NotFoundError, QmrunnerError
from qmrunner.reports import status
from qmrunner.reports import workers as worker_reports
from qmrunner.reports.jobs import summary
from qmrunner.reports.status import iso
from qmrunner.store import events, examinations, sessions, tokens, workers
from qmrunner.store.rows import moment
from qmrunner.web import render
from qmrunner.web.job_page import job_id_of
from qmrunner.web.look import Ask, Page
from qmrunner.web.overview import beating, disks

_EVENTS, _LONGEST_NAME = 200, 40
ROUTER = APIRouter(include_in_schema=False)
_ADMIN = [Depends(page_needs("admin", SMALL_BODY))]


def all_workers(ask: Ask) -> dict[str, Any]:
    """Every worker that has not ended, with what it runs."""
    return {"nav": "workers", **_workers(ask)}


def one_worker(ask: Ask) -> dict[str, Any]:
    """One worker, also one that has ended. Raises NotFoundError `worker_unknown`."""
    text = ask.path["worker_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise NotFoundError("worker_unknown", f"there is no worker {text[:40]!r}", remedy="/workers lists them")
    found = worker_reports.view(ask.app, int(text))
    running = [{"job": row["job"], "step": row["step"], "cores": row["reserved"]["cores"]} for row in found["running"]]
    worker = {name: value for name, value in found.items() if name not in ("used", "day", "examined")}
    checks = None
    if ask.scope == "admin" and found["examined"] is not None:
        checks = worker_reports.worst_first(worker_reports.checks(ask.app, int(text))["checks"])
    return {
        "nav": "workers",
        "worker": {**beating(worker, ask.app.store.now()), "running": running},
        "live": found["state"] in ("active", "draining"),
        "used": {name: None if value is None else round(value) for name, value in found["used"].items()},
        "day": {**found["day"], "core_hours": round(found["day"]["core_hours"], 2)},
        "examined": found["examined"],
        "checks": checks,
    }


def _workers(ask: Ask) -> dict[str, Any]:
    app = ask.app
    with app.store.read() as connection:
        paused = workers.is_paused(connection)
        rows = workers.all_workers(connection)
        live = workers.live_attempts(connection, [row["id"] for row in rows])
        examined = examinations.counts(connection)
    running: dict[int, list[dict[str, Any]]] = {}
    for row in live:
        kept = {"job": row["job_id"], "step": row["step_name"], "cores": row["granted"]["cores"]}
        running.setdefault(row["worker_id"], []).append(kept)
    now = app.store.now()
    shown = [
        {**beating(row, now), "running": running.get(row["id"], []), "examined": examined.get(row["id"])}
        for row in status.workers_view(app)
    ]
    return {"workers": shown, "paused": paused}


def activity(ask: Ask) -> dict[str, Any]:
    """The newest events of all jobs, workers and people."""
    before, word = ask.number("before"), ask.word("event")[:_LONGEST_NAME]
    with ask.app.store.read() as connection:
        found = events.recent(connection, _EVENTS, before=before, names=[word] if word else ())
        names = {row["event"] for row in (events.recent(connection, 5 * _EVENTS) if word else found)}
    only = f"event={quote(word)}" if word else ""
    older = f"/activity?{only}{'&' if only else ''}before={found[-1]['id']}" if len(found) == _EVENTS else None
    return {
        "nav": "activity", "events": [_event(row) for row in found], "names": sorted(names | {word} - {""}),
        "event": word, "older": older, "newest": f"/activity?{only}".rstrip("?") if before is not None else None,
        "only": f"?{only}" if only else "",
    }  # fmt: skip


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in row["data"].items() if isinstance(value, str | int | float | bool)}
    return {
        "at": iso(moment(row["at"])), "event": row["event"], "job": row["job_id"], "step": row["step"],
        "attempt": row["attempt"], "worker": row["worker_id"], "data": data,
    }  # fmt: skip


def system(ask: Ask) -> dict[str, Any]:
    """Pause, store, disks and settings of this server."""
    app = ask.app
    with app.store.read() as connection:
        paused = workers.is_paused(connection)
    return {
        "nav": "system",
        "paused": paused,
        "store": app.store.url,
        "artifacts": status.artifacts(app),
        "disks": disks(status.disk(app)),
        "daemon": _daemon(status.state_file(app)),
    }


def _daemon(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {"at": round(state["at"]), "attempts": [(row["job"], row["step"]) for row in state.get("attempts", ())]}


def all_tokens(ask: Ask) -> dict[str, Any]:
    """Names, scopes and sessions of all tokens."""
    store = ask.app.store
    with store.read() as connection:
        found = tokens.listing(connection)
        opened = sessions.counts(connection, store.now())
    rows = [
        {
            "name": row.name, "scope": row.scope, "created_at": iso(moment(row.created_at)),
            "sessions": opened.get(row.name, (0, None))[0], "seen_at": opened.get(row.name, (0, None))[1],
        }
        for row in found
    ]  # fmt: skip
    return {"nav": "tokens", "tokens": rows, "secret": None, "form_problem": None, "words": {}}


@ROUTER.post("/tokens", response_class=Response, dependencies=_ADMIN)
async def change_token(
    request: Request,
    verb: Annotated[str, Form(max_length=20)],
    name: Annotated[str, Form(max_length=100)] = "",
    scope: Annotated[str, Form(max_length=20)] = "read",
) -> Response:
    """Create a token, whose secret this page shows once; revoke one; or end its sessions."""
    service = service_of(request)
    store = service.app.store
    ask = Ask(service.app, {}, {}, "admin")

    def act() -> dict[str, Any]:
        with store.write() as connection:
            if verb == "add":
                return {"name": name, "secret": tokens.add(connection, store.now(), name, scope)}
            if verb == "sign_out":
                sessions.close_all(connection, name)
            else:
                tokens.revoke(connection, store.now(), name)
        return {}

    try:
        made = await service.ask(act)
    except QmrunnerError as problem:
        facts = {
            **await service.ask(lambda: all_tokens(ask)),
            "form_problem": problem.as_dict(),
            "words": {"name": name},
        }
        return render.page(request, "tokens.html", facts, status=status_of(problem))
    if not made:
        return RedirectResponse("/tokens", 303, render.headers(https=render.is_https(request)))
    # Of the page itself: with the first token this browser is no longer admitted without one.
    shown = render.page(request, "tokens.html", {**await service.ask(lambda: all_tokens(ask)), "secret": made})
    shown.headers["cache-control"] = "no-store"  # it has a secret
    return shown


def files(ask: Ask) -> dict[str, Any]:
    """The files that a job has published."""
    job_id = job_id_of(ask)
    found = summary(ask.app, job_id)["job"]
    job = {name: value for name, value in found.items() if name not in ("stages", "notable")}
    listed = [{"name": name, "bytes": size} for name, size in published_files(ask.app, job_id)]
    return {"nav": "jobs", "job": job, "files": listed}


async def _described(request: Request, _: Ask) -> Markup:
    # Escaped by `docpage`.
    return Markup(docpage.body(request.app.openapi()))


def docs(ask: Ask) -> dict[str, Any]:
    """The routes of the API in words."""
    return {"described": ask.given}


def nothing(ask: Ask) -> dict[str, Any]:
    """A page of words."""
    return {"scope": ask.scope}


PAGES: Sequence[Page] = (
    Page("/workers", "workers.html", all_workers),
    Page("/workers/{worker_id}", "worker.html", one_worker),
    Page("/activity", "activity.html", activity),
    Page("/system", "system.html", system),
    Page("/tokens", "tokens.html", all_tokens, scope="admin", live=False),
    Page("/jobs/{job_id}/files", "files.html", files, live=False),
    Page("/help", "help.html", nothing, live=False),
    Page("/docs", "docs.html", docs, live=False, prepare=_described),
)
