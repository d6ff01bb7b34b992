"""The conformers of a finished job: weights, shieldings, single geometries, and what shifts depend on."""

from __future__ import annotations

import json
import re
from typing import Any

from qmrunner import untrusted
from qmrunner.app import App
from qmrunner.chemistry import sensitivity
from qmrunner.errors import NotFoundError, UsageError
from qmrunner.reports import files, status

_ENSEMBLE, _GEOMETRIES = "ensemble.json", "ensemble.xyz"
_MOST_BYTES = 256 << 20


def view(
    app: App, job_id: str, temperature_k: float | None = None, error_kcal: float = 0.0, *, shieldings: bool = False
) -> dict[str, Any]:
    """The conformers, and for each atom the shift at `temperature_k` (default: that of the job) with the range for an
    energy error of `error_kcal` kcal/mol (`sensitivity.evaluate`); `atoms` is None for results without shieldings of
    each conformer. `shieldings` adds them as `ensemble`. Raises NotReadyError `no_result`, UsageError."""
    result = status.result_view(app, job_id)
    ensemble = _ensemble(app, job_id, result["files"])
    lowest, highest = sensitivity.COLDEST_K, sensitivity.HOTTEST_K
    if temperature_k is not None and not lowest <= temperature_k <= highest:
        raise UsageError(
            "bad_temperature", f"{temperature_k:g} K is outside {lowest:g} to {highest:g} K", remedy="choose one inside"
        )
    if not 0 <= error_kcal <= sensitivity.MOST_ERROR_KCAL:
        raise UsageError(
            "bad_energy_error",
            f"{error_kcal:g} kcal/mol is outside 0 to {sensitivity.MOST_ERROR_KCAL:g} kcal/mol",
            remedy="choose one inside",
        )
    own = (ensemble or {}).get("temperature_k") or result["provenance"].get("temperature_k")
    chosen = temperature_k or own
    at = None if ensemble is None else sensitivity.weights(ensemble, chosen)
    names = [] if ensemble is None else [row["id"] for row in ensemble["conformers"]]
    share = dict(zip(names, at or (), strict=True))
    return {
        "id": job_id,
        "temperature_k": chosen,
        "error_kcal_mol": error_kcal,
        "conformers": [{**row, "weight_at": share.get(row["id"])} for row in result["conformers"]],
        "atoms": None if ensemble is None else sensitivity.evaluate(ensemble, chosen, error_kcal),
        **({"ensemble": ensemble} if shieldings else {}),
    }


def _ensemble(app: App, job_id: str, names: list[str]) -> dict[str, Any] | None:
    if _ENSEMBLE not in names:
        return None
    found: dict[str, Any] = json.loads(text(app, job_id, _ENSEMBLE))
    return found


def text(app: App, job_id: str, name: str) -> str:
    """The text of a published file. Raises NotFoundError `file_unknown`, also for a link in its place."""
    path = files.published_file(app, job_id, name)
    try:
        with untrusted.open_file(path) as file:
            return file.read(_MOST_BYTES).decode(errors="replace")
    except (OSError, untrusted.Refused):
        raise NotFoundError(
            "file_unknown", f"job {job_id} has no file {name!r}", remedy="`files` of the job lists them"
        ) from None


def text_or_none(app: App, job_id: str, name: str) -> str | None:
    """As `text`; None where the job has no such file."""
    try:
        return text(app, job_id, name)
    except NotFoundError:
        return None


def geometry(app: App, job_id: str, conformer: str) -> str:
    """One kept conformer as XYZ in ångström. Raises NotReadyError `no_result`, NotFoundError `conformer_unknown`."""
    result = status.result_view(app, job_id)
    kept = [str(row["id"]) for row in result["conformers"] if row.get("state") == "kept"]
    if conformer in kept and _GEOMETRIES in result["files"]:
        found = _frame(text(app, job_id, _GEOMETRIES), conformer)
        if found is not None:
            return found
    raise NotFoundError(
        "conformer_unknown",
        f"job {job_id} has kept no conformer {conformer[:40]!r}",
        remedy=f"kept are {', '.join(kept[:20])}{' …' if len(kept) > 20 else ''}",
    )


def _frame(ensemble: str, conformer: str) -> str | None:
    """The structure of concatenated XYZ whose comment names the conformer after its energy."""
    lines = ensemble.splitlines()
    at = 0
    while at + 1 < len(lines) and re.fullmatch(r"\s*[0-9]{1,6}\s*", lines[at]):
        end = at + 2 + int(lines[at])
        if lines[at + 1].split()[1:2] == [conformer]:
            return "\n".join([*lines[at:end], ""])
        at = end
    return None
