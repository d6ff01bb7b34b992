"""Reuses the published files of an identical earlier step, once their hashes agree.

The content key covers everything that decides a result: program and version, task, parameters, and the bytes of every
required input. Ranks, memory and machine are not included: they change a result by less than its tolerance.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from qmrunner import __version__, untrusted
from qmrunner.app import App
from qmrunner.artifacts.blobs import digest
from qmrunner.artifacts.files import MANIFEST
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.prepare import inputs_of
from qmrunner.engines.base import Installed
from qmrunner.errors import QmrunnerError
from qmrunner.model.jobs import Outcome, Step

RESULT = "result.json"


def content_key(step: Step, installed: Installed, job_folder: Path) -> str:
    """SHA-256 (hex) of everything that decides the step's result. Raises QmrunnerError `input_missing`, OSError."""
    inputs = inputs_of(step, job_folder, optional=False)
    content = {
        "qmrunner": __version__,
        "engine": [step.engine, installed.version],
        "task": step.task,
        "params": dict(step.params),
        "inputs": {name: digest(path).sha256 for name, path in sorted(inputs.items())},
        # An engine may see the names its inputs have in the job's folder.
        "names": {name: os.path.basename(step.inputs[name]) for name in sorted(inputs)},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def key_of(app: App, attempt: ActiveAttempt) -> str | None:
    """The content key of an attempt's step; None when an input is missing: `prepare` reports that."""
    try:
        return content_key(attempt.step, app.installed(attempt.step.engine), app.settings.jobs_root / attempt.job.id)
    except (QmrunnerError, OSError):
        return None


def write_manifest(folder: Path, promote: tuple[str, ...]) -> None:
    """Write the hashes of all files in `folder`. Raises OSError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "files": {str(path.relative_to(folder)): digest(path).sha256 for path in files},
        "promote": list(promote),
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def recover(folder: Path, work: Path) -> Outcome | None:
    """The outcome that was published in `folder`, its files copied into the empty folder `work`; None when a file is
    missing or changed, and for a partial result, which a full run may improve. Raises OSError when `work` cannot be
    written.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        result: dict[str, Any] = json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        return None
    if result.get("partial"):
        return None
    for name, expected in manifest["files"].items():
        source, target = folder / name, work / name
        if not source.is_file() or source.is_symlink():
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        untrusted.copy(source, target)
        if digest(target).sha256 != expected:
            return None
    return Outcome(
        "succeeded",
        "ok",
        result=result,
        publish=tuple(name for name in manifest["files"] if name != RESULT),
        promote=tuple(manifest["promote"]),
    )
