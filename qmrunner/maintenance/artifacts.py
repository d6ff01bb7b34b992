"""Sweeps the artifact store: expired rows, and contents that no row refers to. Never removes a referenced content.

A content is sent before its row is committed, so only contents older than a day are considered. Each is checked again
right before its removal; a content that was sent again meanwhile is young.
"""

from __future__ import annotations

from itertools import islice

from qmrunner.artifacts.blobs import ArtifactsUnavailable, Blob
from qmrunner.artifacts.files import Artifacts
from qmrunner.maintenance.base import Action, Context
from qmrunner.store import artifacts as rows
from qmrunner.store import attempts as attempt_store

NAME = "artifacts"
_DAY_S = 86400.0
YOUNG_S = _DAY_S
_AT_ONCE = 1000


def plan(context: Context) -> list[Action]:
    """Expired rows, contents without a row, partial uploads. Empty when the artifact store does not answer."""
    artifacts = context.app.artifacts
    if artifacts is None:
        return []
    try:
        actions = _rows(context)
        # In the artifacts of another store every content would look unreferenced.
        if context.contents and artifacts.is_ours():
            actions += [*_contents(context, artifacts), *_leftovers(context, artifacts)]
        return actions
    except ArtifactsUnavailable:
        return []  # logged as `artifacts_lost`


def _rows(context: Context) -> list[Action]:
    s = context.app.settings
    actions = []
    with context.app.store.read() as connection:
        for place, days, what in (
            (rows.LOG, s.log_retention_days, "logs"),
            (rows.JOB, s.result_retention_days, "results"),
        ):
            if days is None:
                continue
            old = attempt_store.ended_jobs(connection, context.now - days * _DAY_S)
            reason = f"{what} of a job that ended more than {days:g} days ago"
            actions += [
                Action(NAME, "forget", job, reason, {"place": place})
                for job in sorted(rows.jobs_with(connection, place, old))
            ]
        over = rows.checkpoints_over(connection, context.now - s.retention_days * _DAY_S)
    reason = f"checkpoint of a step that ended more than {s.retention_days:g} days ago"
    actions += [
        Action(NAME, "forget", f"{job}/{step}", reason, {"place": rows.CHECKPOINT}) for job, step in sorted(over)
    ]
    return actions


def _contents(context: Context, artifacts: Artifacts) -> list[Action]:
    actions: list[Action] = []
    old = (blob for blob in artifacts.blobs.every() if context.now - blob.modified_at > YOUNG_S)
    while some := list(islice(old, _AT_ONCE)):
        with context.app.store.read() as connection:
            used = rows.referenced(connection, {blob.sha256 for blob in some})
        actions += [_removal(blob) for blob in some if blob.sha256 not in used]
    return actions


def _removal(blob: Blob) -> Action:
    return Action(NAME, "remove", blob.sha256, "no file of any job has this content", {"bytes": blob.bytes})


def _leftovers(context: Context, artifacts: Artifacts) -> list[Action]:
    return [
        Action(NAME, "clear", name, "an upload was interrupted")
        for name, modified_at in artifacts.blobs.leftovers()
        if context.now - modified_at > YOUNG_S
    ]


def apply(context: Context, action: Action) -> str | None:
    artifacts = context.app.artifacts
    if artifacts is None:
        return "no artifact store is configured"
    try:
        if action.verb == "forget":
            job, _, step = action.target.partition("/")
            with context.app.store.write() as connection:
                rows.forget(connection, job, str(action.detail["place"]), step or None)
        elif action.verb == "clear":
            artifacts.blobs.remove_leftover(action.target)
        else:
            return _remove(context, artifacts, action.target)
    except ArtifactsUnavailable as problem:
        return problem.evidence
    return None


def _remove(context: Context, artifacts: Artifacts, sha256: str) -> str | None:
    found = artifacts.blobs.stat(sha256)
    if found is not None and context.now - found.modified_at <= YOUNG_S:
        return "it was sent again meanwhile"
    with context.app.store.read() as connection:
        if rows.referenced(connection, {sha256}):
            return "a file refers to it meanwhile"
    artifacts.blobs.remove(sha256)
    return None
