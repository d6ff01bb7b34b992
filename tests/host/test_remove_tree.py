"""Removing what strangers left: everything inside goes, nothing outside is touched."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmrunner.host.remove_tree import remove_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def entries(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def quick_root() -> Iterator[Path]:
    """A root in memory where there is one: it is about depth, not about disks."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="removal-test-", dir=memory) as folder:
        yield Path(folder)


def test_a_tree_three_thousand_levels_deep_goes(quick_root: Path) -> None:
    root = quick_root
    (root / "deep").mkdir()
    handle = os.open(root / "deep", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(handle)
        handle = below
    os.close(handle)
    assert remove_tree(root / "deep", root) == []
    assert entries(root) == []


def test_a_wide_tree_goes(root: Path) -> None:
    for i in range(40):
        for j in range(20):
            (root / "wide" / str(i) / str(j)).mkdir(parents=True)
            (root / "wide" / str(i) / str(j) / "file").write_text("x")
    assert remove_tree(root / "wide", root) == []
    assert entries(root) == []


def test_folders_that_forbid_everything_go(root: Path) -> None:
    inner = root / "attempt" / "closed" / "more"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    inner.chmod(0)
    inner.parent.chmod(0)
    inner.parent.parent.chmod(0)
    assert remove_tree(root / "attempt", root) == []
    assert entries(root) == []


def test_what_a_link_names_is_not_touched(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("x")
    attempt = root / "attempt"
    attempt.mkdir()
    (attempt / "folder").symlink_to(outside)
    (attempt / "file").symlink_to(outside / "file")
    (attempt / "up").symlink_to("..")
    (attempt / "dangling").symlink_to("nowhere")
    os.link(outside / "file", attempt / "hard")
    assert remove_tree(attempt, root) == []
    assert entries(root) == []
    assert (outside / "file").read_text() == "x"


def test_an_attempt_that_is_itself_a_link_loses_the_link_only(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("x")
    (root / "attempt").symlink_to(outside)
    remove_tree(root / "attempt", root)
    assert (outside / "file").read_text() == "x"


def test_a_link_on_the_way_to_the_attempt_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    (outside / "attempt").mkdir(parents=True)
    (root / "job").symlink_to(outside)
    assert remove_tree(root / "job" / "attempt", root) != []
    assert (outside / "attempt").is_dir()


@pytest.mark.parametrize("path", ["../precious", "..", ".", "job/../../precious", "/etc/qmrunner-no-such-thing"])
def test_a_path_outside_the_root_is_refused(root: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (root / "job").mkdir()
    assert remove_tree(root / path, root) != []
    assert outside.is_dir()
    assert (root / "job").is_dir()


def test_what_is_not_there_is_no_problem(root: Path) -> None:
    assert remove_tree(root / "job" / "attempt", root) == []
    assert remove_tree(root / "attempt", root) == []


def test_special_files_go_without_being_opened(root: Path) -> None:
    attempt = root / "attempt"
    attempt.mkdir()
    os.mkfifo(attempt / "pipe")
    (attempt / "bad\udcffname").write_text("x")
    (attempt / ("n" * 255)).write_text("x")
    assert remove_tree(attempt, root) == []
    assert entries(root) == []


def test_a_mount_inside_is_left_with_everything_in_it(root: Path) -> None:
    mount = root / "attempt" / "inner" / "mount"
    mount.mkdir(parents=True)
    (root / "attempt" / "file").write_text("x")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True)
    if done.returncode:
        pytest.skip("only root can mount")
    (mount / "file").write_text("x")
    inside = os.open(mount / "file", os.O_RDONLY)  # follows the mount wherever its folder was moved to
    try:
        left = remove_tree(root / "attempt", root)
        assert any("another filesystem" in reason for reason in left)
        assert os.pread(inside, 1, 0) == b"x"
        assert os.fstat(inside).st_nlink == 1
        assert not (root / "attempt" / "file").exists()
    finally:
        os.close(inside)
        lines = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines()
        found = [line.split(" ")[4].replace("\\040", " ") for line in lines]
        for path in found:
            if path.startswith(str(root)):
                subprocess.run(["umount", "-l", path], check=True)


def test_what_belongs_to_another_user_is_left(root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root owns everything")
    assert remove_tree(Path("/proc/1/attr"), Path("/proc/1")) != []


def test_a_tree_that_vanishes_meanwhile_is_no_problem(root: Path) -> None:
    for _ in range(5):
        for i in range(100):
            (root / "job" / str(i)).mkdir(parents=True)
        threads = [threading.Thread(target=remove_tree, args=(root / "job", root)) for _ in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert entries(root) == []
