"""The server of a local home, which the client starts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from qmrunner.client import Client
from tests.support import ROOT, Home


def test_the_folder_for_temporary_files_may_have_a_longer_path_than_a_socket_address(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    home.path.mkdir(mode=0o700)
    with Client(home.path) as client:
        assert list(client.jobs()) == []
    assert list(folder.iterdir()) == []
