"""What an idempotency key stands for: one request, the same on the command line as over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def digest(fields: Mapping[str, Any], files: Iterable[tuple[str, str]]) -> str:
    """Of everything that decides the job: what was asked for, and files as name and SHA-256, the input first.

    Who asks leaves out fields at their default, so that new ones may come without a key changing its meaning.
    """
    return hashlib.sha256(json.dumps([fields, [list(file) for file in files]], sort_keys=True).encode()).hexdigest()
