"""The filters of job lists: from the query of a request to a `JobFilter`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

from fastapi import Query, Request

from qmrunner.api import schemas
from qmrunner.api.action_schemas import FilterForm
from qmrunner.api.service import service_of
from qmrunner.api.upload.canonical import canonical
from qmrunner.api.upload.forms import PRINTABLE
from qmrunner.errors import UsageError
from qmrunner.model.job_filter import LONGEST_STRUCTURE, JobFilter
from qmrunner.reports import query

_Text = Annotated[str, Query(max_length=200, pattern=PRINTABLE)]


async def of_request(
    request: Request,
    q: Annotated[
        str | None, Query(max_length=query.LONGEST, pattern=PRINTABLE, description="Conditions as one text.")
    ] = None,
    state: Annotated[list[schemas.JobState], Query(description="Return only jobs in these states.")] = [],  # noqa: B006
    kind: Annotated[list[schemas.Kind], Query(description="Return only jobs of these kinds.")] = [],  # noqa: B006
    code: Annotated[list[_Text], Query(description="Return only jobs with these codes.")] = [],  # noqa: B006
    owner: Annotated[list[_Text], Query(description="Return only jobs of these owners.")] = [],  # noqa: B006
    group: Annotated[list[_Text], Query(description="Return only jobs of these groups.")] = [],  # noqa: B006
    name: Annotated[
        str | None,
        Query(max_length=200, pattern=PRINTABLE, description="Return only jobs whose name contains this text."),
    ] = None,
    structure: Annotated[
        str | None,
        Query(
            max_length=LONGEST_STRUCTURE,
            pattern=PRINTABLE,
            description="Return only jobs of this molecule: a SMILES, an InChIKey, or the first block of one.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        Query(max_length=40, pattern=PRINTABLE, description="Submitted at this time or later: 7d, 12h, 2026-11-25."),
    ] = None,
    until: Annotated[
        str | None, Query(max_length=40, pattern=PRINTABLE, description="Submitted before this time.")
    ] = None,
) -> JobFilter:
    """The filter that the query of a request describes. Raises UsageError `bad_query`, `invalid_smiles`."""
    now = time.time()
    given = JobFilter(
        states=tuple(state),
        kinds=tuple(kind),
        codes=tuple(code),
        owners=tuple(owner),
        groups=tuple(group),
        words=(name,) if name else (),
        structure=structure or None,
        since=query.when(since, now) if since else None,
        until=query.when(until, now) if until else None,
    )
    return await settled(request, query.both(query.parse(q, now).filter, given) if q else given)


async def of_form(request: Request, form: FilterForm) -> JobFilter:
    """The same of a form. Raises UsageError, too, for one without any condition: it would mean all jobs there are."""
    found = await of_request(
        request, form.q, form.state, form.kind, form.code, form.owner, form.group, form.name, form.structure,
        form.since, form.until,
    )  # fmt: skip
    if found.admits_all:
        raise UsageError("bad_query", "the filter has no condition", remedy="give at least one, for example a group")
    return found


async def settled(request: Request, wanted: JobFilter) -> JobFilter:
    """The filter with its structure in canonical form. Raises UsageError `invalid_smiles`."""
    if wanted.structure is None:
        return wanted
    found = await canonical(service_of(request), request.app.state.children, wanted.structure)
    return replace(wanted, structure=found)
