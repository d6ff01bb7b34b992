"""No path from a request reaches a file that a job has not published."""

from __future__ import annotations

import io
import os
import socket
import zipfile
from pathlib import Path

import pytest

from qmrunner.api import archive
from qmrunner.api.files import open_below
from qmrunner.app import App
from tests.api.lab import WATER, Server, refused


def raw(server: Server, target: str) -> tuple[int, bytes]:
    """Status and body of a GET whose target is sent as it is: clients tidy paths up."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := connection.recv(1 << 16):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.fixture
def job(server: Server) -> str:
    return server.submit()


@pytest.fixture
def folder(server: Server, job: str) -> Path:
    return server.home.settings.jobs_root / job


def names(server: Server, job: str) -> list[str]:
    return [one["name"] for one in server.client.get(f"/v1/jobs/{job}/files").json()["files"]]


def test_what_is_listed_can_be_fetched(server: Server, job: str) -> None:
    assert names(server, job) == ["input/water.xyz"]
    answer = server.client.get(f"/v1/jobs/{job}/files/input/water.xyz")
    assert answer.text == WATER
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["..", "../store.db", "../../store.db", "input/../../../store.db", "input/../input/water.xyz", "%2e%2e/store.db",
     "..%2f..%2fstore.db", "%2fetc%2fpasswd", "/etc/passwd", "//etc/passwd", "input//water.xyz", "./input/water.xyz",
     "input/water.xyz%00", "%00", "a" * 2000, "input/", "..%5c..%5cstore.db", "%252e%252e/store.db",
     "input/water.xyz/x", "input", "%ff%fe", ""],
)  # fmt: skip
def test_any_other_path_is_refused(server: Server, job: str, name: str) -> None:
    status, body = raw(server, f"/v1/jobs/{job}/files/{name}")
    if name == "":
        assert (status, body[:9]) == (307, b"") or status in (400, 404)
    else:
        assert status in (400, 404), body
    assert b"root:" not in body
    assert b"SQLite" not in body
    assert WATER.encode() not in body


@pytest.mark.parametrize("name", ["../../store.db", "%2fetc%2fpasswd", "input/water.xyz%00", "a" * 2000])
def test_a_path_that_can_never_be_right_is_a_bad_request(server: Server, job: str, name: str) -> None:
    status, body = raw(server, f"/v1/jobs/{job}/files/{name}")
    assert (status, b'"bad_path"' in body) == (400, True)


def test_links_hidden_files_pipes_and_folders_are_neither_listed_nor_opened(
    server: Server, job: str, folder: Path
) -> None:
    secret = server.home.path / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "key").write_text("hush")
    (folder / "link").symlink_to(secret / "key")
    (folder / "linked").symlink_to(secret)
    (folder / ".hidden").write_text("hush")
    (folder / ".staged").mkdir()
    (folder / ".staged" / "file").write_text("hush")
    os.mkfifo(folder / "pipe")
    assert names(server, job) == ["input/water.xyz"]
    for name in ("link", "linked/key", ".hidden", ".staged/file", "pipe", "linked", "input"):
        refused(server.client.get(f"/v1/jobs/{job}/files/{name}"), 404, "file_unknown")


def test_a_file_replaced_by_a_link_after_it_was_listed_is_not_followed(server: Server, job: str, folder: Path) -> None:
    (folder / "input" / "water.xyz").unlink()
    (folder / "input" / "water.xyz").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        open_below(folder, ("input", "water.xyz"))
    (folder / "inner").symlink_to("/etc")
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        open_below(folder, ("inner", "passwd"))


@pytest.mark.parametrize("job_id", ["..", "%2e%2e", "..%2f..", "a%00b", "x" * 500, "%F0%9F%92%A9", "abcdefgh"])
@pytest.mark.parametrize("rest", ["", "/why", "/result", "/files", "/files/a", "/events", "/events/stream",
                                  "/steps/xtb/log", "/steps/xtb/log/stream"])  # fmt: skip
def test_an_id_that_no_job_has_is_not_found(server: Server, job_id: str, rest: str) -> None:
    status, body = raw(server, f"/v1/jobs/{job_id}{rest}")
    assert status == 404, body
    assert b'"code":"job_unknown"' in body or b'"code":"route_unknown"' in body


def test_a_step_is_looked_for_by_name_only(server: Server, job: str) -> None:
    for step in ("nope", "..%2f..%2fetc", "%00"):
        status, body = raw(server, f"/v1/jobs/{job}/steps/{step}/log")
        assert status == 404
        assert b"step_unknown" in body or b"route_unknown" in body


def test_an_archive_looks_at_each_file_once(
    server: Server, job: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (folder / f"many{number}.txt").write_text("x")
    (folder / "..\\..\\evil.bat").write_text("x")  # a path to programs of Windows
    (folder / ".hidden").write_text("x")
    opened = App(server.home.settings, busy_seconds=30.0)
    opened.open_store(create=False)
    found = archive.names(opened, job)
    assert len(found) == 51
    monkeypatch.setattr(os, "walk", None)
    pieces = b"".join(archive.chunks(opened, job, [*found, ".hidden", "gone"]))
    with zipfile.ZipFile(io.BytesIO(pieces)) as made:
        assert sorted(made.namelist()) == sorted(f"{job}/{name}" for name in found)
