"""Where a SQLite store may live, judged before any file is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qmrunner.errors import NotReadyError
from qmrunner.store import session, sqlite_filesystems
from qmrunner.store.sqlite_filesystems import mount_of, refuse_unsafe

ROOT = "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def info(*mounts: tuple[str, str]) -> str:
    """Mountinfo of an ext4 root with these (point, kind) below it, in the order in which they were mounted."""
    return ROOT + "".join(
        f"{number} 20 0:{number} / {point} rw,relatime - {kind} source rw\n"
        for number, (point, kind) in enumerate(mounts, 30)
    )


def escaped(folder: Path) -> str:
    """The folder as the kernel writes it."""
    return str(folder.resolve()).replace("\\", "\\134").replace(" ", "\\040")


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "fuse.sshfs",
        "fuse",
        "virtiofs",
        "vboxsf",
        "lustre",
        "ceph",
        "beegfs",
        "gpfs",
    ],
)
def test_network_and_shared_folder_filesystems_are_refused_with_a_remedy(kind: str) -> None:
    with pytest.raises(NotReadyError) as caught:
        refuse_unsafe(Path("/data/home/store.db"), info(("/data", kind)))
    assert caught.value.code == "store_filesystem_unsafe"
    assert caught.value.evidence == f"/data is mounted as {kind}"
    assert "QMRUNNER_HOME" in (caught.value.remedy or "")
    assert "QMRUNNER_STORE_URL" in (caught.value.remedy or "")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk"])
def test_filesystems_of_this_kernel_are_accepted(kind: str) -> None:
    found = refuse_unsafe(Path("/data/store.db"), info(("/data", kind)))
    assert found is not None
    assert (found.point, found.kind) == ("/data", kind)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/store.db", "nfs"),
        ("/data", "nfs"),
        ("/database/store.db", "ext4"),
        ("/data/local/store.db", "xfs"),
        ("/data/local/deep/er/store.db", "cifs"),
        ("/elsewhere", "ext4"),
    ],
)
def test_the_innermost_mount_decides_and_names_are_compared_whole(path: str, kind: str) -> None:
    text = ROOT + (
        "31 20 0:31 / /data rw - nfs s rw\n32 31 0:32 / /data/local rw - xfs s rw\n"
        "33 32 0:33 / /data/local/deep rw - cifs s rw\n"
    )
    found = mount_of(Path(path), text)
    assert found is not None
    assert found.kind == kind


def test_a_mount_point_with_blanks_and_backslashes_is_understood() -> None:
    text = info(("/my\\040data\\134x", "nfs4"), ("/tab\\011x", "cifs"), ("/wide\u2003\x85\udcffx", "ceph"))
    assert mount_of(Path("/my data\\x/store.db"), text).kind == "nfs4"  # type: ignore[union-attr]
    assert mount_of(Path("/tab\tx/store.db"), text).kind == "cifs"  # type: ignore[union-attr]
    assert mount_of(Path("/wide\u2003\x85\udcffx/store.db"), text).kind == "ceph"  # type: ignore[union-attr]


def test_a_later_mount_on_the_same_folder_covers_the_earlier() -> None:
    assert mount_of(Path("/data/x"), info(("/data", "nfs"), ("/data", "ext4"))).kind == "ext4"  # type: ignore[union-attr]
    stacked = ROOT + "31 20 0:31 / /data rw - ext4 s rw\n32 31 0:32 / /data rw - nfs s rw\n"
    assert mount_of(Path("/data/x"), stacked).kind == "nfs"  # type: ignore[union-attr]


def test_a_mount_hidden_below_a_later_one_does_not_decide() -> None:
    text = info(("/data/local", "ext4"), ("/data", "nfs"))
    assert mount_of(Path("/data/local/store.db"), text).kind == "nfs"  # type: ignore[union-attr]


def test_lines_that_are_no_mounts_are_passed_over() -> None:
    text = "\ngarbage\n1 2 - \n" + info(("/data", "nfs")) + "40 20 0:1 / /data/x\n"
    assert mount_of(Path("/data/x/y"), text).kind == "nfs"  # type: ignore[union-attr]
    assert mount_of(Path("/data"), "") is None


def test_a_link_is_followed_to_the_filesystem_it_leads_to(tmp_path: Path) -> None:
    real = tmp_path / "share"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(NotReadyError):
        refuse_unsafe(tmp_path / "link" / "store.db", info((escaped(real), "virtiofs")))


def test_this_machines_own_mounts_are_understood(tmp_path: Path) -> None:
    found = mount_of(tmp_path.resolve(), os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))
    assert found is not None


@pytest.mark.parametrize("there", [False, True], ids=["a new store", "a store that is there"])
def test_the_refusal_comes_before_any_file_is_created_or_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    if there:
        (share / "store.db").write_bytes(b"")
    before = [(path, path.stat()) for path in sorted(share.rglob("*"))]
    text = info((escaped(share), "nfs4"))
    monkeypatch.setattr(session, "refuse_unsafe", lambda path: sqlite_filesystems.refuse_unsafe(path, text))
    monkeypatch.setattr(session, "create_engine", lambda *_, **__: pytest.fail("the database was opened"))
    with pytest.raises(NotReadyError, match="nfs4"):
        session.Store(f"sqlite:///{share / 'store.db'}")
    assert [(path, path.stat()) for path in sorted(share.rglob("*"))] == before
