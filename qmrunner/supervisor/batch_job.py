"""A daemon inside a batch job: its home is temporary, and its exit status reports whether steps are left.

A hard-killed job (node failure, SIGKILL) removes nothing. So a temporary home has a marker, and the next daemon whose
home is in the same folder removes the homes of dead ones. Never touched: folders without the marker or of other users,
and homes whose daemon or guardians live, because both hold locks.
"""

from __future__ import annotations

import os
import queue
from dataclasses import dataclass
from pathlib import Path

from qmrunner import logs, untrusted
from qmrunner.app import App
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.host import threads
from qmrunner.host.home import LOCK, holder_of
from qmrunner.host.remove_tree import remove_tree
from qmrunner.settings import Settings
from qmrunner.store import ready_steps
from qmrunner.store.session import file_of

MARKER = "temporary-home"
_RUN = "run"
_SCRATCH = "scratch"
_ANSWER_S = 3.0  # the batch system kills soon


@dataclass(frozen=True, slots=True)
class BatchJob:
    """`temporary_home`: remove the home at the end. `left_status`: the exit status of a daemon that was stopped, or
    whose wall time is over, while steps are left."""

    temporary_home: bool = False
    left_status: int = 0

    def check(self, settings: Settings) -> None:
        """Raise UsageError `home_not_temporary` for a home whose removal would lose something; before the start."""
        if not self.temporary_home:
            return
        home, store = settings.home, file_of(settings.store)
        kept = None
        if store is not None and home in Path(os.path.abspath(store)).parents:
            kept = f"the store {store}"
        elif home in settings.jobs_root.parents and settings.artifacts is None:
            kept = f"the results in {settings.jobs_root}"
        elif home.is_dir() and os.listdir(home) and not untrusted.is_file(home / MARKER):
            kept = "what other daemons left there"
        if kept is not None:
            raise UsageError(
                "home_not_temporary",
                f"--temporary-home would remove {kept} with {home}",
                remedy="set QMRUNNER_HOME to a new folder, and QMRUNNER_STORE_URL and QMRUNNER_JOBS outside of it",
            )

    def begin(self, settings: Settings) -> None:
        """Mark the home, and remove those of dead daemons beside it. Call with the home's lock held."""
        if not self.temporary_home:
            return
        with untrusted.overwrite(settings.home / MARKER) as file:
            file.write(b"removed with everything in it when its daemon has ended\n")
        for home in leftovers(settings.home):
            problems = remove_tree(home, home.parent)
            logs.get().info("home_removed", home=str(home), problem="; ".join(problems[:5]) or None)

    def end(self, settings: Settings) -> None:
        """Remove the home, unless an engine still runs in it. Call with the home's lock held."""
        if self.temporary_home and not _lives(settings.home / _SCRATCH):
            remove_tree(settings.home, settings.home.parent)

    def status(self, app: App) -> int:
        """The exit status after a stop. A store that does not answer counts as one with steps left."""
        if not self.left_status:
            return 0
        answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threads.start("left", lambda: answers.put(_any_left(app)))
        try:
            return self.left_status if answers.get(timeout=_ANSWER_S) else 0
        except queue.Empty:
            return self.left_status


def _any_left(app: App) -> bool:
    try:
        with app.store.read() as connection:
            return ready_steps.any_left(connection)
    except QmrunnerError:
        return True


def leftovers(home: Path) -> list[Path]:
    """Temporary homes of this user beside `home` whose daemon and guardians are dead."""
    found = []
    try:
        names = sorted(os.listdir(home.parent))
    except OSError:
        return []
    for name in names:
        path = home.parent / name
        if path != home and _is_temporary(path) and holder_of(path / _RUN) is None and not _lives(path / _SCRATCH):
            found.append(path)
    return found


def _is_temporary(path: Path) -> bool:
    """Whether this is a real folder of this user with the marker of a daemon that had taken its lock."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    marked = path.is_dir() and not path.is_symlink() and status.st_uid == os.geteuid()
    return marked and untrusted.is_file(path / MARKER) and untrusted.is_file(path / _RUN / LOCK)


def _lives(scratch: Path) -> bool:
    """Whether a guardian lives in an attempt below `scratch`; True when that cannot be found out."""
    try:
        return any(AttemptDirectory(path).guardian_lives() for path in _attempts(scratch))
    except OSError:
        return True


def _attempts(folder: Path, levels: int = 3) -> list[Path]:
    """The attempt folders below a scratch root: job, step, number. Follows no links. Raises OSError."""
    try:
        with os.scandir(folder) as entries:
            inside = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    if levels == 1:
        return inside
    return [path for level in inside for path in _attempts(level, levels - 1)]
