"""What the tests of engines share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def one_word() -> Iterator[Path]:
    """A folder whose path is one word for every engine, wherever temporary folders are."""
    folder = Path(tempfile.mkdtemp(prefix="qmrunner-word-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)
