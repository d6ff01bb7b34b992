"""Tasks of Huey applications: how they end, and what an application may say about each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.model.jobs import Demand, Step

ENGINE = "huey"
TASK, TELL = "task", "tell"  # stages: the task, and the report of an end that it could not make itself
RETRYING = "retrying"
MOST_TRIES = 100  # of one job; the next one has a job apart
# A task whose process died runs again sooner than an engine: its imports are loaded in the host, and most deaths come
# from outside.
RETRY_DELAY_S = 0.5
# Codes of ends that were reported to the application, by how Huey's epilogue ended.
REPORTED = {
    "error": "task_error",
    RETRYING: "retrying",
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


def step_name(stage: str, number: int) -> str:
    """The name of a step of one try: `task`, and `task-2` for the first one that Huey repeats."""
    return stage if number == 1 else f"{stage}-{number}"


def newest_try(params: Mapping[str, Any], steps: Sequence[Step]) -> list[Step]:
    """The steps of a job's newest try. Of those before, only their records matter."""
    number = int(params.get("tries", 1))
    names = {step_name(stage, number) for stage in (TASK, TELL)}
    return [step for step in steps if step.name in names]


def waits_for_huey(params: Mapping[str, Any], steps: Sequence[Step]) -> bool:
    """Whether the newest try ended with a message for the next one."""
    # A failed step keeps its code, a report its result.
    ends = {end for step in newest_try(params, steps) for end in (step.code, step.result.get("state"))}
    return RETRYING in ends and int(params.get("tries", 1)) < MOST_TRIES


def demand_of(words: Mapping[str, Any]) -> Demand:
    """The reservation of a task."""
    cores = words.get("cores", 0)  # the application's own `-w` bounds how many run
    return Demand(
        cores_min=cores,
        cores_max=cores,
        memory_mib_base=words.get("memory_mib", _MEMORY_MIB),
        scratch_mib=words.get("scratch_mib", _SCRATCH_MIB),
    )
