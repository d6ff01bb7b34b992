"""Files written atomically: complete or absent."""

from __future__ import annotations

import os
from pathlib import Path

from qmrunner import untrusted


def unfinished(path: Path) -> Path:
    """Where `write_atomically` writes before the rename."""
    return path.with_name(f".{path.name}.new")


def write_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a file completely or not at all. One writer at a time; a killed writer's temporary file is overwritten."""
    temporary = unfinished(path)
    with untrusted.overwrite(temporary) as file:
        file.write(text.encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)
