"""Remedies for a failed CREST step, best first; see `model.remedies`. Params they set: `options` and `stack_mib`, as
with xTB."""

from __future__ import annotations

from qmrunner.engines.xtb.remedies import THREADS, option
from qmrunner.model.remedies import Change, Failure, Remedy

_SEARCH_FAILED = frozenset({"topology_changed", "no_conformers", "md_unstable"})
_STEP = Remedy(
    "smaller-time-step",
    frozenset({"md_unstable"}),
    False,
    option("a time step of 1 fs in the dynamics", "--tstep", 1, larger=False),
)


def _rdkit(failure: Failure) -> Change | None:
    return Change("RDKit searches the conformers instead of CREST", instead=True)


_OF_TASK: dict[str, tuple[Remedy, ...]] = {
    "conformers": (*THREADS, _STEP, Remedy("rdkit-search", _SEARCH_FAILED, False, _rdkit)),
    "user": (*THREADS, _STEP),
}


def of_task(task: str) -> tuple[Remedy, ...]:
    """The remedies of ``conformers`` and ``user``."""
    return _OF_TASK.get(task, ())
