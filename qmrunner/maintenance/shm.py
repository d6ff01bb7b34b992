"""Removes shared-memory segments of dead owners: Global Arrays (`cmx*`, `sem.cmx*`) and Open MPI's (`vader_segment*`).

A killed MPI run may leave segments, and no other program removes them. A segment counts as dead when it belongs to
this user, is older than a quarter of an hour, and no process maps it or holds it open.
"""

from __future__ import annotations

import os
import re

from qmrunner.guardian import process_tree
from qmrunner.maintenance.base import Action, Context

NAME = "shm"
_FOLDER = "/dev/shm"
_SEGMENT = re.compile(r"(sem\.)?(cmx|vader_segment|osc_|sm_segment|mpich_shm)")
_YOUNG_S = 900.0


def plan(context: Context) -> list[Action]:
    """Removal of dead segments."""
    candidates = {}
    try:
        with os.scandir(_FOLDER) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                ours = found.st_uid == os.geteuid() and entry.is_file(follow_symlinks=False)
                if ours and _SEGMENT.match(entry.name) and context.now - found.st_mtime > _YOUNG_S:
                    candidates[entry.path] = found.st_size
    except OSError:
        return []
    used = _in_use() if candidates else set()
    return [
        Action(NAME, "remove", path, "no process maps or holds it", {"bytes": size})
        for path, size in sorted(candidates.items())
        if path not in used
    ]


def apply(context: Context, action: Action) -> str | None:
    try:
        os.unlink(action.target)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror
    return None


def _in_use() -> set[str]:
    """Files of the folder that a process maps or has open. Segments are mode 0600: only this user's processes can."""
    used: set[str] = set()
    for pid in process_tree.all_pids():
        try:
            with open(f"/proc/{pid}/maps", errors="replace") as file:
                used.update(line.split(None, 5)[5].strip() for line in file if _FOLDER in line)
            for name in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith(_FOLDER):
                    used.add(target)
        except OSError:
            continue  # it ended, or belongs to another user: this user's engines are readable
    return used
