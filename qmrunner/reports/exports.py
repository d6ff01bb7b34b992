"""A result in the formats that other programs read: QCSchema, NMReDATA, SDF, JCAMP-DX and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from qmrunner import untrusted
from qmrunner.app import App
from qmrunner.chemistry import atom_sdf, jcamp, qcschema_molecule
from qmrunner.engines import qcschema, qcschema_result
from qmrunner.errors import NotFoundError, NotReadyError, UsageError
from qmrunner.model.states import JobState
from qmrunner.reports import files, measured, status, why
from qmrunner.store import jobs as job_store

FORMATS = ("qcschema", "nmredata", "jcamp", "csv", "sdf")
_NUCLEI = ("1H", "13C")
_NMREDATA, _CSV = "nmredata.sdf", "shifts.csv"


def render(app: App, job_id: str, name: str) -> str:
    """The text of a result in one of FORMATS. Raises UsageError `unknown_format`, `no_shifts`, NotFoundError
    `file_unknown`, NotReadyError `no_result`."""
    if name == "qcschema":
        return json.dumps(qcschema_document(app, job_id), indent=1, allow_nan=False) + "\n"
    if name not in FORMATS:
        raise UsageError(
            "unknown_format", f"a result has no format {name[:40]!r}", remedy=f"choose one of {', '.join(FORMATS)}"
        )
    result = measured.nmr_result(app, job_id)
    if name == "csv":
        return _published(app, job_id, _CSV)
    if name == "jcamp":
        title = str(status.job_view(app, job_id)["job"]["name"] or job_id)
        blocks = [
            jcamp.peak_table(result["shifts"], nucleus, f"{title} {nucleus}", result["solvent"], datetime.now(UTC))
            for nucleus in _NUCLEI
            if any(row["nucleus"] == nucleus for row in result["shifts"])
        ]
        return blocks[0] if len(blocks) == 1 else jcamp.link(title, blocks)
    record = _published(app, job_id, _NMREDATA)
    if name == "nmredata":
        return record
    made = atom_sdf.record(record, result)
    if made is None:
        raise NotFoundError("file_unknown", f"the {_NMREDATA} of job {job_id} has no structure with these atoms")
    return made


def qcschema_document(app: App, job_id: str) -> dict[str, Any]:
    """The AtomicResult or OptimizationResult of a job; of one that was submitted as QCSchema and has failed or was
    cancelled, the FailedOperation. Raises NotReadyError `no_result`, NotFoundError `job_unknown`, `file_unknown`."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
    name = job.params.get("qcschema")
    if job.state is JobState.SUCCEEDED:
        try:
            found = json.loads(_published(app, job_id, qcschema.FILE))
        except NotFoundError:
            if not name:
                raise
            return _failed(app, job_id, str(name), "result_missing", "the engine printed no result that fits the input")
        return dict(found)
    if not name or job.state not in (JobState.FAILED, JobState.CANCELLED):
        status.result_view(app, job_id)  # raises with what to do
        raise NotReadyError("no_result", f"job {job_id} is {job.state}")
    explained = why.view(app, job_id)
    code = str(explained["code"] or job.state)
    return _failed(app, job_id, str(name), code, str(explained["summary"]), explained)


def _failed(
    app: App, job_id: str, name: str, code: str, message: str, explained: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    try:
        given = qcschema_molecule.load(untrusted.read_text(app.settings.jobs_root / job_id / "input" / name), name)
    except OSError:
        given = {}  # retention has removed the files of the job
    about = explained or {}
    details = {"job": job_id, **{key: about[key] for key in ("class", "evidence", "remedy") if about.get(key)}}
    return qcschema_result.failed(given, code, message, details)


def _published(app: App, job_id: str, name: str) -> str:
    status.result_view(app, job_id)
    path = files.published_file(app, job_id, name)
    try:
        return untrusted.read_text(path)
    except OSError:
        raise NotFoundError(
            "file_unknown", f"job {job_id} has published no {name}", remedy="`files` of the job lists what it has"
        ) from None
