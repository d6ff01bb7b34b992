"""Write the input files of jobs durably, before their rows are committed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qmrunner.host.durable import flush


def write_inputs(folders: Mapping[Path, Mapping[str, bytes]]) -> None:
    """Write the files of each new folder, and flush all files and folders to disk. Raises OSError."""
    written: dict[Path, None] = {}
    for folder, files in folders.items():
        folder.mkdir(parents=True)
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                file.write(content)
            written |= dict.fromkeys((target, target.parent))
        written |= dict.fromkeys((folder, folder.parent, folder.parent.parent))
    flush(list(written))
