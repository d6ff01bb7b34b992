"""Removes unused scratch directories. Never a live or resumable one, never outside the scratch root."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.host.remove_tree import remove_tree
from qmrunner.maintenance.base import Action, Context
from qmrunner.store import attempts as attempt_store
from qmrunner.store.attempts import StepFate

NAME = "scratch"
# A resumed attempt may need the one before the last, if the last left nothing usable.
_ATTEMPTS_KEPT = 2
_DAY_S = 86400.0


def plan(context: Context) -> list[Action]:
    """Removal of attempts of finished steps at once, of failed ones after the retention, of superseded ones."""
    root = context.app.settings.scratch_root
    seen = _walk(root)
    with context.app.store.read() as connection:
        fates = attempt_store.fates(connection, seen.jobs)
    of_job: dict[str, list[tuple[str, StepFate]]] = {}
    for (job, step), of_step in fates.items():
        of_job.setdefault(job, []).append((step, of_step))
    gone = [root.joinpath(*inside) for inside in seen.interrupted]
    for job, *below in seen.empty:
        concerned = [of_step for step, of_step in of_job.get(job, ()) if below in ([], [step])]
        if concerned and all(of_step.over for of_step in concerned):
            gone.append(root.joinpath(job, *below))
    actions = [Action(NAME, "remove", str(path), "a removal was interrupted") for path in gone]
    for job, step, number in seen.attempts:
        fate = fates.get((job, step))
        reason = None if fate is None else _why_remove(fate, int(number), context)
        if reason is not None and not AttemptDirectory(path := root / job / step / number).guardian_lives():
            actions.append(Action(NAME, "remove", str(path), reason))
    return actions


def _why_remove(fate: StepFate, number: int, context: Context) -> str | None:
    if fate.failed:
        age_s = context.now - (fate.ended_at or context.now)
        days = context.app.settings.retention_days
        return f"the step failed more than {days:g} days ago" if age_s > days * _DAY_S else None
    if fate.over:
        return "the step is over"
    if number > fate.attempt or (fate.live and number == fate.attempt):
        return None
    return "newer attempts supersede it" if number <= fate.attempt - _ATTEMPTS_KEPT else None


def apply(context: Context, action: Action) -> str | None:
    root = context.app.settings.scratch_root
    path = Path(action.target)
    # It may have been locked since the plan was made.
    if AttemptDirectory(path).guardian_lives():
        return "a guardian lives there"
    left = remove_tree(path, root)
    for folder in (path.parent, path.parent.parent):
        if root in folder.parents:
            with suppress(OSError):
                folder.rmdir()  # only when empty
    return "; ".join(left[:5]) or None


@dataclass(slots=True)
class _Seen:
    """Content of the scratch root, as names below it: jobs, attempts, empty folders."""

    jobs: list[str] = field(default_factory=list)
    attempts: list[tuple[str, str, str]] = field(default_factory=list)
    empty: list[tuple[str, ...]] = field(default_factory=list)
    interrupted: list[tuple[str, ...]] = field(default_factory=list)


def _walk(root: Path) -> _Seen:
    """Walk once, reading each folder once: there may be a hundred thousand."""
    seen = _Seen()
    for job in _folders(root, (), seen):
        seen.jobs.append(job)
        for step in _folders(root, (job,), seen):
            seen.attempts += [(job, step, name) for name in _folders(root, (job, step), seen) if name.isdigit()]
    return seen


def _folders(root: Path, inside: tuple[str, ...], seen: _Seen) -> list[str]:
    """Names of the real folders inside; follows no links. Records empty folders and interrupted removals."""
    try:
        with os.scandir(os.path.join(root, *inside)) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return []
    if not found and inside:
        seen.empty.append(inside)
    names = sorted(name for name, is_folder in found if is_folder)
    if len(inside) < 2:
        seen.interrupted += [(*inside, name) for name in names if name.startswith(".removing-")]
    return [name for name in names if not name.startswith(".")]
