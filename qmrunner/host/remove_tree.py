"""Remove a tree with untrusted content: any depth, mode-0 folders, hostile links. Never touches anything outside.

Python's rmtree fails at 3,000 levels and on a mode-0 folder, and does not stop at mounts (measured). Here every
subfolder is first moved up to the root of the removal, so two descriptors are enough for any depth.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from qmrunner import untrusted
from qmrunner.guardian.process_tree import myself


def remove_tree(path: Path, root: Path) -> list[str]:
    """Remove `path`, which must be below `root`. Returns what could not be removed, with the reason.

    Follows no symlink, crosses no mount point, and opens nothing that belongs to another user.
    """
    if root not in path.parents or ".." in path.parts:
        return [f"{path}: not inside {root}"]
    try:
        parent = _descend(root, path.parent.relative_to(root).parts)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path.parent}: {error.strerror}"]
    try:
        return _Removal(parent, path.name).run()
    finally:
        os.close(parent)


def _descend(root: Path, levels: Sequence[str]) -> int:
    """A descriptor of a folder below `root`; refuses symlinks at every level. Raises OSError."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    path = root
    for name in levels:
        path = path / name
        try:
            inner = untrusted.open_folder(path, at)
        finally:
            os.close(at)
        at = inner
    return at


class _Removal:
    def __init__(self, parent: int, name: str) -> None:
        self.parent = parent
        self.device = os.fstat(parent).st_dev
        self.left: list[str] = []
        self.todo: list[str] = [name]
        self.counter = 0
        self.prefix = f".removing-{os.getpid()}-{myself().start_ticks}-{id(self):x}-"

    def run(self) -> list[str]:
        emptied: list[str] = []
        while self.todo:
            name = self.todo.pop()
            if self._empty(name):
                emptied.append(name)
        for name in reversed(emptied):
            try:
                os.rmdir(name, dir_fd=self.parent)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.left.append(f"{name}: {error.strerror}")
        return self.left

    def _empty(self, name: str) -> bool:
        """Unlink the files of one folder and move its subfolders up. False when the folder may not be opened."""
        folder = self._open(self.parent, name)
        if folder is None:
            return False
        try:
            for entry in os.listdir(folder):
                self._dispose(folder, entry)
        finally:
            os.close(folder)
        return True

    def _dispose(self, folder: int, entry: str) -> None:
        try:
            status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(entry, dir_fd=folder)
                return
            inner = self._open(folder, entry)
            if inner is None:
                return
            os.close(inner)
            self.counter += 1
            moved = f"{self.prefix}{self.counter}"
            os.rename(entry, moved, src_dir_fd=folder, dst_dir_fd=self.parent)
            self.todo.append(moved)
        except FileNotFoundError:
            return
        except OSError as error:
            self.left.append(f"{entry}: {error.strerror}")

    def _open(self, folder: int, name: str) -> int | None:
        """A descriptor of a folder of this user on this device; changes its mode when that forbids access."""
        try:
            handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if os.path.islink(f"/proc/self/fd/{folder}/{name}"):
                os.unlink(name, dir_fd=folder)
            else:
                self.left.append(f"{name}: {error.strerror}")
            return None
        try:
            status = os.fstat(handle)
            if status.st_dev != self.device:
                self.left.append(f"{name}: another filesystem is mounted here")
                return None
            if status.st_uid != os.geteuid() and os.geteuid() != 0:
                self.left.append(f"{name}: belongs to user id {status.st_uid}")
                return None
            if status.st_mode & 0o700 != 0o700:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self.left.append(f"{name}: {error.strerror}")
            return None
        finally:
            os.close(handle)
