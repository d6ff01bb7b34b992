"""Routes of a result: conformers, downloads made on demand, measured peaks, and comparison of jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from qmrunner.api import archive
from qmrunner.api import result_schemas as shapes
from qmrunner.api.access import SMALL_BODY, Caller, needs
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import DOWNLOAD_WAIT_S, Reader, Writer, look
from qmrunner.api.service import service_of
from qmrunner.app import App
from qmrunner.chemistry import jcamp, methods
from qmrunner.chemistry.peaks import MOST_CHARACTERS
from qmrunner.errors import NotFoundError
from qmrunner.reports import conformers, exports, html_report, measured, status
from qmrunner.store import jobs as job_store

router = APIRouter(tags=["results"], responses=errors(400, 401, 403, 404, 409, 422, 429, 503))
Nucleus = Literal["1H", "13C"]
ReaderWithBody = Annotated[Caller, Depends(needs("read", SMALL_BODY))]
WriterWithBody = Annotated[Caller, Depends(needs("write", SMALL_BODY))]
Export = Literal["qcschema", "nmredata", "jcamp", "csv", "sdf"]
_EXPORTS = {
    "qcschema": (".qcschema.json", "application/json"),
    "nmredata": (".nmredata.sdf", "chemical/x-mdl-sdfile"),
    "jcamp": (".jdx", "chemical/x-jcamp-dx"),
    "csv": (".csv", "text/csv"),
    "sdf": (".sdf", "chemical/x-mdl-sdfile"),
}


class PeaksForm(BaseModel):
    """Measured peaks: a plain list, the list of a paper, or a JCAMP-DX peak table."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str = Field(max_length=MOST_CHARACTERS, examples=["13C: 58.3, 18.2 (C1)"])
    nucleus: Nucleus | None = Field(None, description="Of a list without a heading; default: by the highest shift.")


class CompareForm(BaseModel):
    """Jobs to compare, and the peaks; without `text` those that are kept with the first job that has some."""

    model_config = ConfigDict(extra="forbid", strict=True)
    jobs: list[str] = Field(min_length=1, max_length=8, examples=[["ftqsrbrr", "wq3kd7ma"]])
    text: str | None = Field(None, max_length=MOST_CHARACTERS)
    nucleus: Nucleus | None = None


@router.get("/v1/jobs/{job_id}/measured", response_model=shapes.MeasuredAnswer)
async def peaks(request: Request, job_id: str, _: Reader) -> Json:
    """Return the measured peaks of a job and their comparison with its shifts; 404 without peaks."""
    return Json(await look(request, measured.view, job_id))


@router.put("/v1/jobs/{job_id}/measured", response_model=shapes.MeasuredAnswer, responses=errors(408, 413))
async def keep_peaks(request: Request, job_id: str, form: PeaksForm, caller: WriterWithBody) -> Json:
    """Keep measured peaks with a job that has shifts, in place of earlier ones, and return the comparison."""
    return Json(await look(request, measured.keep, job_id, form.text, form.nucleus, caller.name))


@router.delete("/v1/jobs/{job_id}/measured", status_code=204, response_class=Response)
async def remove_peaks(request: Request, job_id: str, caller: Writer) -> Response:
    """Remove the measured peaks of a job."""
    await look(request, measured.remove, job_id, caller.name)
    return Response(status_code=204)


@router.post("/v1/compare", response_model=shapes.ComparisonAnswer, responses=errors(408, 413))
async def compare(request: Request, form: CompareForm, _: ReaderWithBody) -> Json:
    """Compare jobs with measured peaks and with each other. Stores nothing.

    `probability` weighs the candidates where there are two or more isomers of one level whose errors are known; else
    its `reason` states why not.
    """
    service = service_of(request)
    ids = [job_store.checked_id(job_id) for job_id in form.jobs]
    return Json(await service.ask(lambda: measured.compare(service.app, ids, form.text, form.nucleus)))


@router.get("/v1/jobs/{job_id}/conformers", response_model=shapes.EnsembleAnswer)
async def ensemble(
    request: Request,
    job_id: str,
    _: Reader,
    temperature: Annotated[float | None, Query(description="Kelvin, 200 to 400; default: that of the job.")] = None,
    energy_error: Annotated[float, Query(description="kcal/mol, 0 to 2: the error of any one energy.")] = 0.0,
    shieldings: Annotated[bool, Query(description="Include the shieldings of each conformer.")] = False,
) -> Json:
    """Return the conformers, and how far each shift depends on the temperature and on errors of their energies."""

    def ask(app: App, checked: str) -> dict[str, Any]:
        return conformers.view(app, checked, temperature, energy_error, shieldings=shieldings)

    return Json(await look(request, ask, job_id))


@router.get(
    "/v1/jobs/{job_id}/conformers/{conformer}.xyz",
    response_class=Response,
    responses={200: {"content": {"chemical/x-xyz": {"schema": {"type": "string"}}}, "description": "Ångström."}},
)
async def geometry(request: Request, job_id: str, conformer: str, _: Reader) -> Response:
    """Download the geometry of one kept conformer."""
    return await _made(request, conformers.geometry, job_id, f"{job_id}-{conformer}.xyz", "chemical/x-xyz", conformer)


@router.get(
    "/v1/jobs/{job_id}/spectrum_{nucleus}.jdx",
    response_class=Response,
    responses={200: {"content": {"chemical/x-jcamp-dx": {"schema": {"type": "string"}}}, "description": "JCAMP-DX."}},
)
async def peak_table(request: Request, job_id: str, nucleus: Nucleus, _: Reader) -> Response:
    """Download the computed shifts of one nucleus as a JCAMP-DX 5.01 peak table."""
    name = f"{job_id}-{nucleus}.jdx"
    return await _made(request, _peak_table, job_id, name, "chemical/x-jcamp-dx", nucleus)


@router.get(
    "/v1/jobs/{job_id}/report.html",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "One file."}},
)
async def report(request: Request, job_id: str, _: Reader) -> Response:
    """Download a report of the result: one HTML file without scripts, which also prints."""
    return await _made(request, html_report.render, job_id, f"{job_id}-report.html", "text/html")


@router.get(
    "/v1/jobs/{job_id}/export/{form}",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "One file."}},
)
async def export(request: Request, job_id: str, form: Export, _: Reader) -> Response:
    """Download the result in a format of other programs: `qcschema` (of a failed job, its FailedOperation),
    `nmredata`, `jcamp` (all nuclei), `csv`, or `sdf` with the shifts on the atoms."""
    ending, kind = _EXPORTS[form]
    return await _made(request, exports.render, job_id, f"{job_id}{ending}", kind, form)


@router.get("/v1/jobs/{job_id}/text", response_model=shapes.TextsAnswer)
async def texts(request: Request, job_id: str, _: Reader) -> Json:
    """Return texts for a paper: `lists` of shifts by nucleus, `methods`, and `citations`."""
    return Json(await look(request, lambda app, checked: methods.texts(measured.nmr_result(app, checked)), job_id))


@router.get(
    "/v1/jobs/{job_id}/archive.zip",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}, "description": "All published files."}},
)
async def whole(request: Request, job_id: str, _: Reader) -> StreamingResponse:
    """Download all published files of a job as one zip."""
    service = service_of(request)
    await request.state.held.enter_async_context(service.downloads.place(DOWNLOAD_WAIT_S))
    names = await look(request, archive.names, job_id)
    pieces = archive.chunks(service.app, job_id, names)
    return StreamingResponse(pieces, headers=_headers(f"{job_id}.zip"), media_type="application/zip")


def _peak_table(app: App, job_id: str, nucleus: str) -> str:
    result = measured.nmr_result(app, job_id)
    if not any(row["nucleus"] == nucleus for row in result["shifts"]):
        raise NotFoundError("file_unknown", f"job {job_id} has no {nucleus} shifts", remedy="ask for the other nucleus")
    name = status.job_view(app, job_id)["job"]["name"] or job_id
    return jcamp.peak_table(result["shifts"], nucleus, f"{name} {nucleus}", result["solvent"], datetime.now(UTC))


async def _made(request: Request, make: Callable[..., str], job_id: str, name: str, kind: str, *more: str) -> Response:
    text = await look(request, make, job_id, *more)
    return Response(text.encode(), headers=_headers(name), media_type=f"{kind}; charset=utf-8")


def _headers(name: str) -> dict[str, str]:
    """An attachment, which must not run as a page of this server."""
    plain = "".join(sign for sign in name if sign.isascii() and (sign.isalnum() or sign in "._-"))
    return {
        "Content-Disposition": f'attachment; filename="{plain}"',
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        "X-Content-Type-Options": "nosniff",
    }
