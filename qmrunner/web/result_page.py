"""The page of a result, with measured peaks; and the page that compares candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.responses import RedirectResponse

from qmrunner.api.access import SMALL_BODY, Caller, page_needs
from qmrunner.api.errors import status_of
from qmrunner.api.service import service_of
from qmrunner.app import App
from qmrunner.chemistry import comparison, methods, peaks, picture, svg
from qmrunner.chemistry.spectrum_signals import atom_label
from qmrunner.errors import NotFoundError, QmrunnerError, UsageError
from qmrunner.model.job_filter import JobFilter
from qmrunner.reports import conformers, jobs, measured, quantity_tables, status
from qmrunner.store import jobs as job_store
from qmrunner.web import render
from qmrunner.web.look import Ask, Page

_MOST_JOBS = 8
# Words of a query are at most a thousand characters, and an address should fit into a message.
_LONGEST_IN_ADDRESS = 800
# Shieldings in the page itself: more are fetched by its script.
_MOST_CELLS = 2000
# Shown at first: relative energies of B3LYP conformers err by some half a kcal/mol.
_ERROR_KCAL = 0.5
ROUTER = APIRouter(include_in_schema=False)
_WRITE = page_needs("write", SMALL_BODY)


def facts(ask: Ask) -> dict[str, Any]:
    """What the page of a result shows."""
    return result_facts(ask.app, job_store.checked_id(ask.path["job_id"]), ask)


def result_facts(app: App, job_id: str, ask: Ask | None = None) -> dict[str, Any]:
    """The result with its drawings and texts; for jobs without shifts only what every result has."""
    job = status.job_view(app, job_id)["job"]
    result = status.result_view(app, job_id)
    files = [name for name in result["files"] if "/" not in name]
    grids, others = quantity_tables.of_result(result)
    base = {
        "nav": "jobs",
        "job": job,
        "large": False,
        "grids": grids,
        "others": others,
        "result": result,
        "files": files,
        "seen": None,
        "typed": None,
        "nucleus": None,
        "spectra": {},
        "drawing": None,
        "texts": None,
        "tables": [],
        "ensemble": None,
        "most": peaks.MOST_CHARACTERS,
    }
    if not result.get("shifts") or "level" not in result:
        return base
    seen = measured.view_or_none(app, job_id)
    compared = {each["nucleus"]: each for each in (seen or {}).get("comparisons", ())}
    ensemble = _ensemble(app, job_id, ask)
    at = {row["atom"]: row for row in (ensemble["atoms"] or ())} if ensemble else {}
    return base | {
        "seen": seen,
        "compared": compared,
        "typed": seen["text"] if seen else None,
        "nucleus": seen["nucleus"] if seen else None,
        "spectra": {
            nucleus: picture.spectrum(result["shifts"], nucleus, compared.get(nucleus))
            for nucleus in comparison.NUCLEI
            if any(row["nucleus"] == nucleus for row in result["shifts"])
        },
        "drawing": svg.inline(conformers.text_or_none(app, job_id, "structure.svg") or ""),
        "texts": methods.texts(result),
        "tables": [(nucleus, _rows(result, nucleus, compared.get(nucleus), at)) for nucleus in comparison.NUCLEI],
        "ensemble": ensemble,
        "large": len(result["conformers"]) * len(result["shifts"]) > _MOST_CELLS,
        "digits": comparison.DIGITS,
    }


def _ensemble(app: App, job_id: str, ask: Ask | None) -> dict[str, Any]:
    """The conformers at the temperature and energy error of the query; at their own where those are no numbers."""
    temperature, error = (_number(ask, name) for name in ("temperature", "energy_error"))
    try:
        return conformers.view(app, job_id, temperature, _ERROR_KCAL if error is None else error, shieldings=True)
    except UsageError:
        return conformers.view(app, job_id, shieldings=True)


def _number(ask: Ask | None, name: str) -> float | None:
    try:
        return float(ask.word(name)) if ask is not None and ask.word(name) else None
    except ValueError:
        return None


def _rows(
    result: Mapping[str, Any], nucleus: str, compared: Mapping[str, Any] | None, at: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row for each signal of a nucleus."""
    first = {int(row["atom"]): row for row in result["shifts"]}
    shown = {tuple(row["atoms"]): row for row in (compared or {}).get("signals", ())}
    return [
        {
            **first[signal.atoms[0]],
            "atoms": list(signal.atoms),
            "label": atom_label(signal.atoms, str(first[signal.atoms[0]]["symbol"])),
            "exchangeable": signal.exchanges,
            "seen": shown.get(signal.atoms),
            "at": at.get(signal.atoms[0]),
        }
        for signal in comparison.signals_of(result["shifts"], nucleus)
    ]


@ROUTER.post("/jobs/{job_id}/measured", response_class=Response)
async def keep(
    request: Request,
    job_id: str,
    caller: Annotated[Caller, Depends(_WRITE)],
    text: Annotated[str, Form(max_length=4 * peaks.MOST_CHARACTERS)] = "",
    nucleus: Annotated[str, Form(max_length=4)] = "",
    verb: Annotated[str, Form(max_length=10)] = "keep",
) -> Response:
    """Keep or remove the measured peaks of a job; a text that cannot be read stays in the form."""
    service, checked = service_of(request), job_store.checked_id(job_id)
    chosen = nucleus if nucleus in comparison.NUCLEI else None
    try:
        if verb == "remove":
            await service.ask(lambda: measured.remove(service.app, checked, caller.name))
        else:
            await service.ask(lambda: measured.keep(service.app, checked, text, chosen, caller.name))
    except UsageError as problem:
        found = await service.ask(lambda: result_facts(service.app, checked))
        values = {**found, "problem": problem.as_dict(), "typed": text[: peaks.MOST_CHARACTERS], "nucleus": chosen}
        return render.page(request, "result.html", values, status=status_of(problem))
    except NotFoundError as problem:
        if problem.code != "no_measured":
            raise
    headers = render.headers(https=render.is_https(request))
    return RedirectResponse(f"/jobs/{checked}/result#measured", 303, headers)


@ROUTER.post("/compare", response_class=Response, dependencies=[Depends(page_needs("read", SMALL_BODY))])
async def show_comparison(
    request: Request,
    jobs: Annotated[str, Form(max_length=1000)] = "",
    text: Annotated[str, Form(max_length=4 * peaks.MOST_CHARACTERS)] = "",
    nucleus: Annotated[str, Form(max_length=4)] = "",
) -> Response:
    """Lead to the address of the comparison; a text that is too long for one is compared at once."""
    service = service_of(request)
    if len(text) <= _LONGEST_IN_ADDRESS:
        words = {"jobs": jobs, "text": text, "nucleus": nucleus}
        where = urlencode({name: word for name, word in words.items() if word})
        return RedirectResponse(f"/compare?{where}", 303, render.headers(https=render.is_https(request)))
    found = await service.ask(lambda: comparison_facts(service.app, jobs, text, nucleus))
    return render.page(request, "compare.html", found)


def compare_facts(ask: Ask) -> dict[str, Any]:
    """What the page of a comparison shows."""
    return comparison_facts(ask.app, ",".join(ask.query.get("jobs", ())), ask.word("text"), ask.word("nucleus"))


def comparison_facts(app: App, named: str, text: str, nucleus: str) -> dict[str, Any]:
    """The comparison of these jobs, or the form alone without jobs."""
    ids = list(dict.fromkeys(named.replace(",", " ").split()))[: _MOST_JOBS + 1]
    base: dict[str, Any] = {
        "nav": "jobs",
        "ids": ids,
        "typed": text,
        "nucleus": nucleus,
        "found": None,
        "drawings": {},
        "overlays": {},
        "recent": _recent(app),
        "most": peaks.MOST_CHARACTERS,
        "digits": comparison.DIGITS,
    }
    if not ids:
        return base
    try:
        checked = [job_store.checked_id(word) for word in ids]
        chosen = nucleus if nucleus in comparison.NUCLEI else None
        found = measured.compare(app, checked, text or None, chosen)
    except QmrunnerError as problem:
        return base | {"problem": problem.as_dict()}
    drawings = {job_id: svg.inline(conformers.text_or_none(app, job_id, "structure.svg") or "") for job_id in checked}
    typed = {"typed": found["text"] or "", "nucleus": found["nucleus"] or ""}
    return base | typed | {"found": found, "drawings": drawings, "overlays": _overlays(app, checked, found)}


def _overlays(app: App, ids: Sequence[str], found: Mapping[str, Any]) -> dict[str, str]:
    """The spectra of all candidates over each other, by nucleus."""
    shifts = [status.result_view(app, job_id)["shifts"] for job_id in ids]
    drawn = {}
    for nucleus in comparison.NUCLEI:
        seen = [each for job in found["jobs"] for each in job["comparisons"] if each["nucleus"] == nucleus]
        peaks_ = {row["measured_ppm"] for each in seen for row in each["signals"] if row["measured_ppm"] is not None}
        peaks_ |= {peak["ppm"] for each in seen for peak in each["unassigned"]}
        svg_ = picture.overlaid(shifts, nucleus, sorted(peaks_))
        if svg_ is not None:
            drawn[nucleus] = svg_
    return drawn


def _recent(app: App) -> list[dict[str, Any]]:
    """The newest jobs with shifts, for the form."""
    found: list[dict[str, Any]] = jobs.page(app, 20, JobFilter(states=("succeeded",), kinds=("nmr",)))["jobs"]
    return found


PAGES = (
    Page("/jobs/{job_id}/result", "result.html", facts, live=False),
    Page("/compare", "compare.html", compare_facts, live=False),
)
