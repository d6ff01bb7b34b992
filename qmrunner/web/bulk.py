"""Actions on many jobs: first what they would move and what not, then the moves with an answer for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response

from qmrunner.api.access import Caller, page_needs
from qmrunner.api.service import Service, service_of
from qmrunner.errors import UsageError
from qmrunner.model.job_filter import JobFilter
from qmrunner.store import bulk
from qmrunner.web import render
from qmrunner.web.actions import priority_of
from qmrunner.web.job_list import of_text
from qmrunner.web.links import own_path

# More jobs than this are confirmed by typing their number.
TYPED_FROM = 20
_SHOWN = 100
_BODY = 1 << 17
ROUTER = APIRouter(include_in_schema=False)
_WRITER = page_needs("write", _BODY)


@ROUTER.post("/jobs/bulk", response_class=Response)
async def act(
    request: Request,
    caller: Annotated[Caller, Depends(_WRITER)],
    verb: Annotated[str, Form(max_length=20)] = "",
    id: Annotated[list[Annotated[str, Form(max_length=32)]], Form(max_length=1000)] = [],  # noqa: B006
    q: Annotated[str, Form(max_length=1000)] = "",
    which: Annotated[str, Form(max_length=10)] = "",
    expect: Annotated[str, Form(max_length=10)] = "",
    typed: Annotated[str, Form(max_length=10)] = "",
    altering: Annotated[str, Form(max_length=5)] = "",
    value: Annotated[str, Form(max_length=10)] = "0",
    back: Annotated[str, Form(max_length=2000)] = "/jobs",
) -> Response:
    """Without `expect` the plan, with it the moves."""
    service = service_of(request)
    if verb not in bulk.VERBS:
        raise UsageError("unknown_action", f"there is no action {verb[:40]!r}", remedy="use the buttons of the page")
    whole = which == "all"
    wanted = (await of_text(request, q, service.app.store.now())) if whole else None
    if wanted is not None and wanted.problem is not None:
        raise UsageError("bad_query", wanted.problem["message"], remedy=wanted.problem["remedy"])
    planned = await service.ask(lambda: _plan(service, verb, id, None if wanted is None else wanted.filter))
    values: dict[str, Any] = {
        "nav": "jobs", "verb": verb, "ids": () if whole else id, "q": q, "which": which,
        "back": own_path(back, "/jobs"),
        "moves": len(planned.moves), "states": planned.states, "more": planned.more,
        "skipped": planned.skipped[:_SHOWN], "skipped_count": len(planned.skipped),
        "reasons": Counter(row["reason"] for row in planned.skipped), "typed_from": TYPED_FROM, "done": None,
        "altering": altering == "yes", "value": value,
    }  # fmt: skip
    if not expect:
        return render.page(request, "bulk.html", values)
    moves = len(planned.moves)
    if not (expect.isascii() and expect.isdigit()) or moves > int(expect):
        changed = f"{moves} jobs would be moved now, more than the {expect} you saw"
        problem = UsageError("count_changed", changed, remedy="look again, then confirm the new number")
        return render.page(request, "bulk.html", {**values, "problem": problem.as_dict()}, status=409)
    if moves > TYPED_FROM and typed.strip() != expect:
        problem = UsageError(
            "not_confirmed", f"type {expect} to confirm", evidence=typed or None, remedy="type the number"
        )
        return render.page(request, "bulk.html", {**values, "problem": problem.as_dict()}, status=422)
    mover = partial(
        bulk.move, service.app.store, verb, by=caller.name, allow_altering=altering == "yes",
        priority=priority_of(value) if verb == "priority" else 0,
    )  # fmt: skip
    moved, late = [], []
    for piece in bulk.pieces(planned.moves):
        jobs, skipped = await service.ask(partial(mover, piece))
        moved += jobs
        late += skipped
    service.app.queue.notify()
    request.app.state.hub.wake()
    rows = [{"id": job.id, "name": job.name, "state": str(job.state)} for job in moved]
    skipped_rows = [*planned.skipped, *late]
    done = {"moved": rows[:_SHOWN], "count": len(rows)}
    values |= {"done": done, "skipped": skipped_rows[:_SHOWN], "skipped_count": len(skipped_rows)}
    return render.page(request, "bulk.html", values)


def _plan(service: Service, verb: str, ids: Sequence[str], wanted: JobFilter | None) -> bulk.Planned:
    with service.app.store.read() as connection:
        if wanted is None:
            return bulk.chosen(connection, verb, ids)
        return bulk.matching(connection, verb, wanted)
