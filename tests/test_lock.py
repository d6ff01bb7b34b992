"""The locked packages install on the oldest Python that a supported Debian has."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

OLDEST = "3.11.2"  # Debian 12
ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / "constraints.txt", ROOT / "deploy/from-source.txt")


def test_every_locked_package_admits_the_oldest_python() -> None:
    names = [name for lock in LOCKS for name in re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE)]
    assert len(names) > 50
    assert "geometric" in names
    refused = {}
    for name in names:
        try:
            needs = metadata(name).get("Requires-Python")
        except PackageNotFoundError:
            continue  # its marker leaves it out on this machine
        if needs and OLDEST not in SpecifierSet(needs):
            refused[name] = needs
    assert refused == {}
