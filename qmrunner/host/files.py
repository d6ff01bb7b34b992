"""Files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from qmrunner import untrusted


def unfinished(path: Path) -> Path:
    """Where `write_atomically` writes before the rename."""
    return path.with_name(f".{path.name}.new")


def write_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """The whole file or none of it, under its name. One writer at a time: what a killed one left is written over."""
    temporary = unfinished(path)
    with untrusted.overwrite(temporary) as file:
        file.write(text.encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)
