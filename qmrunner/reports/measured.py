"""Measured peaks of jobs, compared with computed shifts: the JSON of the API, of `qmrunner result --measured` and of
the pages. Field names are a public contract (docs/reference/json.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from qmrunner.app import App
from qmrunner.chemistry import candidates, comparison, peaks
from qmrunner.errors import NotFoundError, UsageError
from qmrunner.reports import status
from qmrunner.store import measured as store

EXAMPLE = "`13C: 170.1, 128.5 (2C), 21.0` or the list of a paper"


def nmr_result(app: App, job_id: str) -> dict[str, Any]:
    """The result of a job that has shifts. Raises NotFoundError, NotReadyError, UsageError `no_shifts`."""
    result = status.result_view(app, job_id)
    if not result.get("shifts") or "level" not in result:
        raise UsageError(
            "no_shifts",
            f"job {job_id} is of kind {result['kind']} and has no chemical shifts",
            remedy="name a job of kind nmr that has succeeded",
        )
    return result


def cleaned(text: str) -> str:
    """The text as it is kept: without control characters but line ends and tabs. Raises UsageError `peaks_too_long`."""
    if len(text) > peaks.MOST_CHARACTERS:
        raise UsageError(
            "peaks_too_long",
            f"the text has {len(text)} characters, more than {peaks.MOST_CHARACTERS}",
            remedy="send a list of peaks, not a spectrum",
        )
    plain = text.encode(errors="replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    return "".join(sign for sign in plain if sign in "\n\t" or sign.isprintable()).strip()


def read(text: str, nucleus: str | None, solvent: str) -> peaks.Read:
    """The peaks of a text. Raises UsageError `no_peaks` when there is none."""
    found = peaks.read(text, nucleus=nucleus, solvent=solvent)
    if not any(each.peaks or each.aside for each in found.lists):
        raise UsageError(
            "no_peaks", "the text has no peaks", evidence="; ".join(found.problems) or text[:80], remedy=EXAMPLE
        )
    return found


def keep(app: App, job_id: str, text: str, nucleus: str | None, by: str | None) -> dict[str, Any]:
    """Keep peaks with a job, and return the comparison. Raises as `nmr_result`, `cleaned` and `read`."""
    result = nmr_result(app, job_id)
    plain = cleaned(text)
    found = read(plain, nucleus, result["solvent"])
    with app.store.write() as connection:
        store.keep(connection, app.store.now(), job_id, plain, nucleus, by)
        kept = store.of_job(connection, job_id)
    assert kept is not None
    return {**_about(kept), **compared(result, found)}


def remove(app: App, job_id: str, by: str | None) -> None:
    """Remove the peaks of a job. Raises NotFoundError `job_unknown`, `no_measured`."""
    with app.store.write() as connection:
        removed = store.remove(connection, app.store.now(), job_id, by)
    if not removed:
        raise _none(job_id)


def view(app: App, job_id: str) -> dict[str, Any]:
    """The peaks that are kept with a job, and the comparison. Raises as `nmr_result`, NotFoundError `no_measured`."""
    with app.store.read() as connection:
        kept = store.of_job(connection, job_id)
    if kept is None:
        raise _none(job_id)
    result = nmr_result(app, job_id)
    found = peaks.read(kept.text, nucleus=kept.nucleus, solvent=result["solvent"])
    return {**_about(kept), **compared(result, found)}


def view_or_none(app: App, job_id: str) -> dict[str, Any] | None:
    """As `view`; None for a job without peaks."""
    with app.store.read() as connection:
        kept = store.of_job(connection, job_id)
    return None if kept is None else view(app, job_id)


def compared(result: Mapping[str, Any], found: peaks.Read) -> dict[str, Any]:
    """The comparison of a result with peaks: `comparisons`, one for each nucleus, and `problems` of reading."""
    return {
        "job": result["id"],
        "level": result["level"],
        "solvent": result["solvent"],
        "comparisons": [comparison.compare(result["shifts"], each, result["level"]) for each in found.lists],
        "problems": list(found.problems),
    }


def compare(app: App, job_ids: Sequence[str], text: str | None, nucleus: str | None) -> dict[str, Any]:
    """Jobs beside each other: `jobs`, each with its comparison with the peaks; `probability` of the candidates
    (`candidates.weigh`); `atoms`, the shifts atom by atom, where all jobs have the same atoms and bonds in one order.

    Without `text` the peaks are those of the first job that has some; without any, nothing is compared with them.
    """
    if not 1 <= len(set(job_ids)) <= candidates.MOST or len(set(job_ids)) < len(job_ids):
        raise UsageError(
            "bad_candidates",
            f"{len(job_ids)} jobs cannot be compared",
            remedy=f"name 1 to {candidates.MOST} different jobs",
        )
    results = [nmr_result(app, job_id) for job_id in job_ids]
    rows = [status.job_view(app, job_id)["job"] for job_id in job_ids]
    names = _names(rows)
    source: str | None = None
    if text is None:
        with app.store.read() as connection:
            kept = [(job_id, store.of_job(connection, job_id)) for job_id in job_ids]
        first = next(((job_id, each) for job_id, each in kept if each is not None), None)
        if first is not None:
            source, text, nucleus = first[0], first[1].text, first[1].nucleus
    else:
        text = cleaned(text)
    found = read(text, nucleus, results[0]["solvent"]) if text else peaks.Read((), ())
    weighed = candidates.weigh(
        [_candidate(result, name, row) for result, name, row in zip(results, names, rows, strict=True)], found
    )
    return {
        "text": text,
        "nucleus": nucleus,
        "peaks_of": source,
        "problems": list(found.problems),
        "jobs": [
            {**_summary(result, name), "comparisons": compared(result, found)["comparisons"]}
            for result, name in zip(results, names, strict=True)
        ],
        "probability": weighed,
        "atoms": _atoms(results),
    }


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name of each job, with its id where two have one name."""
    names = [str(row["name"] or row["id"]) for row in rows]
    return [name if names.count(name) == 1 else f"{name} ({row['id']})" for name, row in zip(names, rows, strict=True)]


def _summary(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = _input(result)
    return {
        "id": result["id"],
        "name": name,
        "level": result["level"],
        "solvent": result["solvent"],
        "formula": _formula(result),
        "smiles": given.get("smiles"),
        "conformers": sum(row.get("state") == "kept" for row in result["conformers"]),
    }


def _input(result: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result["provenance"].get("input") or {}
    return found


def _formula(result: Mapping[str, Any]) -> str | None:
    """The molecular formula in Hill's order; None where the result does not have the atoms."""
    count = Counter(_input(result).get("atoms") or ())
    carbon = ["C", "H"] if "C" in count else []
    order = [*(symbol for symbol in carbon if symbol in count), *sorted(set(count) - set(carbon))]
    return "".join(f"{symbol}{count[symbol] if count[symbol] > 1 else ''}" for symbol in order) or None


def _candidate(result: Mapping[str, Any], name: str, row: Mapping[str, Any]) -> candidates.Candidate:
    molecule = row.get("inchikey") or row.get("structure") or _input(result).get("smiles")
    return candidates.Candidate(name, result["shifts"], result["level"], result["solvent"], molecule, _formula(result))


def _atoms(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The shifts of all jobs atom by atom; None where the jobs number atoms differently, or there is one job."""
    kinds = [(_input(result).get("atoms"), _input(result).get("bonds")) for result in results]
    if len(results) < 2 or not kinds[0][0] or any(kind != kinds[0] for kind in kinds):
        return None
    tables = [{row["atom"]: row for row in result["shifts"]} for result in results]
    common = [atom for atom in tables[0] if all(atom in table for table in tables)]
    return [
        {
            **{key: tables[0][atom][key] for key in ("atom", "symbol", "nucleus")},
            "shifts_ppm": [table[atom]["shift_ppm"] for table in tables],
        }
        for atom in common
    ]


def _about(kept: store.Measured) -> dict[str, Any]:
    at = status.iso(datetime.fromtimestamp(kept.at, UTC))
    return {"text": kept.text, "nucleus": kept.nucleus, "at": at, "by": kept.by}


def _none(job_id: str) -> NotFoundError:
    return NotFoundError(
        "no_measured",
        f"job {job_id} has no measured peaks",
        remedy=f"`qmrunner result {job_id} --measured FILE`, or PUT /v1/jobs/{job_id}/measured",
    )
