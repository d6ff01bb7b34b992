"""Packages that only some results need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qmrunner.errors import NotReadyError


@contextmanager
def needed(package: str) -> Iterator[None]:
    """Around an import. Raises NotReadyError `package_missing`."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise NotReadyError(
            "package_missing", f"this needs the package {package}", evidence=str(missing),
            remedy="pip install 'qmrunner[client,notebook]'",
        ) from None  # fmt: skip
