"""Tasks of Huey applications: how they end, and what an application may say about each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmrunner.model.jobs import Demand

ENGINE = "huey"
# A task whose process died runs again sooner than an engine: its imports are loaded in the host, and most deaths come
# from outside.
RETRY_DELAY_S = 0.5
# Codes of ends that were reported to the application, by how Huey's epilogue ended.
REPORTED = {
    "error": "task_error",
    "retrying": "retrying",
    "cancelled": "task_cancelled",
    "locked": "locked",
    "timeout": "task_timeout",
    "rate_limited": "rate_limited",
    "result_lost": "result_lost",
    "unreadable": "task_unreadable",
    "lost_not_rerun": "lost_not_rerun",
}
_SIZES = ("cores", "memory_mib", "scratch_mib")
_TIMES = ("hard_timeout_s", "quiet_timeout_s")
_MEMORY_MIB, _SCRATCH_MIB = 64, 16
RERUN = ("always", "never")
_MOST, _PATTERNS = 1e9, 20


def words_of(given: Any) -> tuple[dict[str, Any], list[str]]:
    """The options of a task (`@huey.task(qmrunner={...})`, `apps.toml`): the usable ones, and objections to others.

    `rerun`, `cores`, `memory_mib`, `scratch_mib`, `hard_timeout_s` and `quiet_timeout_s` (seconds), `detach` (a truth
    value), `follow` (patterns of file names).
    """
    if not isinstance(given, Mapping):
        return {}, [] if given is None else [f"expected a dictionary, got {given!r:.60}"]
    words: dict[str, Any] = {}
    objections = []
    for name, value in given.items():
        if _is_usable(name, value):
            words[name] = value
        else:
            objections.append(f"{str(name)[:40]}={value!r:.60}")
    return words, objections


def _is_usable(name: Any, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MOST
    if name in _SIZES:
        return number and isinstance(value, int)
    if name in _TIMES:
        return number
    if name == "detach":
        return isinstance(value, bool)
    if name == "follow":
        return (
            isinstance(value, list) and len(value) <= _PATTERNS and all(isinstance(pattern, str) for pattern in value)
        )
    return bool(name == "rerun" and value in RERUN)


def demand_of(words: Mapping[str, Any]) -> Demand:
    """The reservation of a task."""
    cores = words.get("cores", 0)  # the application's own `-w` bounds how many run
    return Demand(
        cores_min=cores,
        cores_max=cores,
        memory_mib_base=words.get("memory_mib", _MEMORY_MIB),
        scratch_mib=words.get("scratch_mib", _SCRATCH_MIB),
    )
