"""The shared folder of login node and pilots holds a password and names programs: no other user may have made it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qmrunner.errors import NotReadyError
from qmrunner.slurm.site import FILE, set_up
from tests.support import Home

URL = "postgresql://me:word@host/qm"


def _linked(folder: Path) -> None:
    (folder.parent / "theirs").write_text("")
    (folder / FILE).symlink_to(folder.parent / "theirs")


def _open_file(folder: Path) -> None:
    (folder / FILE).write_text("QMRUNNER_XTB=/tmp/x\n")
    (folder / FILE).chmod(0o666)


def _foreign_file(folder: Path) -> None:
    (folder / FILE).write_text("QMRUNNER_XTB=/tmp/x\n")
    os.chown(folder / FILE, 12345, 12345)


def _foreign_part(folder: Path) -> None:
    (folder / "jobs").mkdir()
    os.chown(folder / "jobs", 12345, 12345)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / FILE)


@pytest.mark.parametrize("plant", [_linked, _open_file, _foreign_file, _foreign_part, _pipe])
def test_what_another_user_planted_is_refused_and_gets_no_password(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    if os.geteuid() != 0 and plant in (_foreign_file, _foreign_part):
        pytest.skip("only root gives files away")
    folder = tmp_path / "shared"
    folder.mkdir(0o700)
    plant(folder)
    with pytest.raises(NotReadyError) as refused:
        set_up(folder, URL)
    assert refused.value.code == "folder_not_private"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "word" in path.read_text()]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "used").touch()
    folder.chmod(mode)
    if mode == 0o770:
        os.chown(folder, -1, 54321) if os.geteuid() == 0 else pytest.skip("only root gives a folder another group")
    with pytest.raises(NotReadyError, match="not safe from other users"):
        set_up(folder, URL)


def test_a_new_folder_is_private_and_a_second_call_keeps_the_file(tmp_path: Path) -> None:
    file = set_up(tmp_path / "new" / "shared", URL)
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir() if path.is_dir()} == {0o700}
    before = file.read_text()
    assert set_up(file.parent, URL).read_text() == before


def test_the_file_with_the_password_is_read_before_anything_is_written_and_pilots_get_it(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, password = tmp_path / "shared", tmp_path / "password"
    url = "postgresql://me@127.0.0.1:1/qm"
    command = ("slurm", "setup", str(folder), "--store", url)
    refused = home.run(*command, QMRUNNER_STORE_PASSWORD_FILE=str(password))
    assert (refused.returncode, folder.exists()) == (2, False)
    assert "QMRUNNER_STORE_PASSWORD_FILE: cannot be read" in refused.stderr
    password.write_text("word")
    asked = home.run(*command, QMRUNNER_STORE_PASSWORD_FILE=str(password))
    assert (asked.returncode, folder.exists()) == (4, False)
    assert "store_unavailable" in asked.stderr
    monkeypatch.setenv("QMRUNNER_STORE_PASSWORD_FILE", str(password))
    assert f"QMRUNNER_STORE_PASSWORD_FILE={password}\n" in set_up(folder, url).read_text()
