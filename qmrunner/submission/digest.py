"""Digest of a request, compared when an idempotency key is used again. The CLI and the HTTP API compute the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def digest(fields: Mapping[str, Any], files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of everything that defines the job: the options, and the files as name and SHA-256, the input first.

    Callers omit fields at their default, so that a new option does not change the digest of an old request.
    """
    return hashlib.sha256(json.dumps([fields, [list(file) for file in files]], sort_keys=True).encode()).hexdigest()
