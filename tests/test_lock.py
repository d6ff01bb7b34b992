"""The locked packages install on the oldest Python that a supported Debian has."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

OLDEST = "3.11.2"  # Debian 12
LOCK = Path(__file__).parents[1] / "constraints.txt"


def test_every_locked_package_admits_the_oldest_python() -> None:
    names = re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)
    assert len(names) > 50
    refused = {}
    for name in names:
        try:
            needs = metadata(name).get("Requires-Python")
        except PackageNotFoundError:
            continue  # its marker leaves it out on this machine
        if needs and OLDEST not in SpecifierSet(needs):
            refused[name] = needs
    assert refused == {}
