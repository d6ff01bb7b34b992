"""Write the input files of a job durably, before its rows are committed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write_inputs(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write every file and flush files and folders to disk. Raises OSError."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for path in (folder, folder.parent, folder.parent.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
