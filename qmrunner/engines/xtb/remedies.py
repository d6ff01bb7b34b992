"""Remedies for a failed xTB step, best first; see `model.remedies`.

Params they set: `options`, put before those of the step because xTB 6.5.1 uses the first of two equal ones,
`stack_mib`.
"""

from __future__ import annotations

from collections.abc import Callable

from qmrunner.engines.openmp import integer, value_of
from qmrunner.engines.remedies import fewer, more_memory
from qmrunner.model.remedies import Change, Failure, Remedy

_STACK_MIB = 1024


def option(sentence: str, name: str, value: int, larger: bool = True) -> Callable[[Failure], Change | None]:
    """Give an option this value, unless the step's value is at least as far in the same direction."""

    def change(failure: Failure) -> Change | None:
        options = list(failure.step.params.get("options") or ())
        now = integer(value_of([*(failure.step.params.get("args") or ()), *options], (name,)))
        if now is not None and (now >= value if larger else now <= value):
            return None
        return Change(sentence, {"options": [*options, name, str(value)]})

    return change


def bigger_stack(failure: Failure) -> Change | None:
    """The maximum stack for each thread: with too little, a program dies by SIGSEGV without a message."""
    demand = failure.step.demand
    room = (failure.capacity.memory_mib - demand.memory_mib_base) // max(1, failure.grant.cores)
    stack = min(_STACK_MIB, room)
    held = int(failure.step.params.get("stack_mib") or failure.grant.memory_mib // max(1, failure.grant.cores))
    return Change(f"{stack} MiB of stack for each thread", {"stack_mib": stack}) if stack > held else None


THREADS = (
    Remedy("bigger-stack", frozenset({"openmp_stack"}), True, bigger_stack),
    Remedy(
        "fewer-threads",
        frozenset({"openmp_stack", "openmp_threads", "oom_killed", "memory_refused", "crashed", "process_limit"}),
        True,
        fewer("threads"),
        cap=3,
    ),
    Remedy("more-memory", frozenset({"oom_killed"}), True, more_memory),
)
_SCC = frozenset({"scf_not_converged"})
_OWN = (
    *THREADS,
    Remedy("scc-iterations", _SCC, True, option("500 SCC iterations", "--iterations", 500)),
    Remedy("scc-temperature", _SCC, False, option("an electronic temperature of 1000 K", "--etemp", 1000)),
    Remedy(
        "more-cycles",
        frozenset({"optimization_not_converged"}),
        True,
        option("1000 optimisation cycles", "--cycles", 1000),
    ),
)


def of_task(task: str) -> tuple[Remedy, ...]:
    """The remedies of ``optimise`` and ``user``."""
    return _OWN
