"""Scratch directories that nobody will want again. Never a live or resumable one, never outside the scratch root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from qmrunner.runtime.folders import AttemptFolder
from qmrunner.runtime.passes.base import Action, Context
from qmrunner.runtime.removal import remove_tree
from qmrunner.store import attempts as attempt_store
from qmrunner.store.attempts import StepFate

NAME = "scratch"
# A resumed attempt may have to go back one more, when the last one left nothing usable.
_ATTEMPTS_KEPT = 2
_DAY_S = 86400.0


def plan(context: Context) -> list[Action]:
    """Removal of attempts of finished steps at once, of failed ones after the retention, of superseded ones."""
    root = context.app.settings.scratch_root
    found = list(_attempt_folders(root))
    with context.app.store.read() as connection:
        fates = attempt_store.fates(connection, {job.name for job in _folders(root)})
    of_job: dict[str, list[tuple[str, StepFate]]] = {}
    for (job_id, name), fate_of_step in fates.items():
        of_job.setdefault(job_id, []).append((name, fate_of_step))
    actions = [Action(NAME, "remove", str(path), "a removal was interrupted") for path in _interrupted(root)]
    for path in _empty(root):
        inside = path.relative_to(root).parts
        concerned = [fate for name, fate in of_job.get(inside[0], ()) if inside[1:] in ((), (name,))]
        if concerned and all(fate.over for fate in concerned):
            actions.append(Action(NAME, "remove", str(path), "a removal was interrupted"))
    for job, step, number, path in found:
        fate = fates.get((job, step))
        reason = None if fate is None else _why_remove(fate, number, context)
        if reason is not None and not AttemptFolder(path).guardian_lives():
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
    # Locked since the plan was made: it lives after all.
    if AttemptFolder(path).guardian_lives():
        return "a guardian lives there"
    left = remove_tree(path, root)
    for folder in (path.parent, path.parent.parent):
        if root in folder.parents:
            with suppress(OSError):
                folder.rmdir()  # only when empty
    return "; ".join(left[:5]) or None


def _attempt_folders(root: Path) -> Iterator[tuple[str, str, int, Path]]:
    for job in _folders(root):
        for step in _folders(job):
            for attempt in _folders(step):
                if attempt.name.isdigit():
                    yield job.name, step.name, int(attempt.name), attempt


def _interrupted(root: Path) -> Iterator[Path]:
    for folder in (root, *_folders(root)):
        yield from (path for path in _folders(folder, hidden=True) if path.name.startswith(".removing-"))


def _empty(root: Path) -> Iterator[Path]:
    """Folders of jobs and of their steps with nothing in them."""
    for job in _folders(root):
        yield from (folder for folder in (job, *_folders(job)) if not os.listdir(folder))


def _folders(folder: Path, *, hidden: bool = False) -> list[Path]:
    """Real sub-folders; links are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(path for path in found if path.name.startswith(".") == hidden)
