"""A wait ends with a change of a file, and after its time without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest

from qmrunner.supervisor.folder_watch import FolderWatch

LONG_S = 60.0


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("line\n")


def rename(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    os.replace(other, path)


@pytest.mark.parametrize("change", [append, rename])
def test_a_change_ends_the_wait(tmp_path: Path, change: Callable[[Path], None]) -> None:
    append(tmp_path / "file")
    watch = FolderWatch([tmp_path])
    watch.wait(0.0)
    began = time.monotonic()
    timer = Timer(0.2, change, [tmp_path / "file"])
    timer.start()
    watch.wait(LONG_S)
    timer.join()
    assert time.monotonic() - began < LONG_S / 2


def test_wake_ends_the_wait_and_the_next_one_waits_again(tmp_path: Path) -> None:
    watch = FolderWatch([tmp_path])
    watch.wake()
    began = time.monotonic()
    watch.wait(LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    began = time.monotonic()
    watch.wait(0.2)
    assert time.monotonic() - began >= 0.19


def test_a_folder_that_cannot_be_watched_is_looked_at_often(tmp_path: Path) -> None:
    began = time.monotonic()
    FolderWatch([tmp_path / "missing"]).wait(LONG_S)
    assert time.monotonic() - began < LONG_S / 2
