"""Remedies for a failed NWChem step, best first. See `model.remedies`; `generated_deck` and `deck_rewrite` write the
requested changes.

Params they set: `max_iterations`, `scf_iterations`, `scf_damping`, `scf_level_shift`, `scf_smearing`, `scf_tight`,
`coordinates`, `nuclei_at_once` for qmrunner's own decks; `direct`, `noautoz`, `noautosym`, `scf_iterations`,
`max_iterations` for users' decks; `memory_arena`, `resume_from`, `oversubscribe` for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qmrunner.engines.remedies import fewer, more_memory
from qmrunner.model.remedies import Change, Failure, Remedy

_MEMORY = ("memory_exhausted", "memory_refused", "oom_killed", "shm_exhausted", "bus_error")
_FINAL_INTEGRALS = re.compile(r"g_h(11|01)|get_(dia|par)", re.IGNORECASE)
# The first match decides. Named allocations (`MA_alloc_get`, `MA_get`) come from the heap.
_ARENAS = (
    ("global", re.compile(r"ga_create|\bga\b|\bg_\w+|global|ga_(duplicate|allocate)|GA_ERR", re.IGNORECASE)),
    ("heap", re.compile(r"ma_?alloc|heap|ma_get", re.IGNORECASE)),
    ("stack", re.compile(r"ma_?push|stack|enuf|enough mem|out of memory|insufficient memory|MA_ERR", re.IGNORECASE)),
)
_TO = {"heap": "for the heap", "stack": "for the stack", "global": "for the global arrays"}
_COORDINATES = re.compile(r"autoz|geom_binvr|internals?\b|redundant|\bzmat|zcoord", re.IGNORECASE)
_SYMMETRY = re.compile(r"symmetr|autosym|abelian|\bsym_|\birrep", re.IGNORECASE)
_SCF_ITERATIONS, _STEPS, _RESPONSE_ITERATIONS = 300, 100, 50
_RESUME_LADDER = ("geometry", "input")


def _setting(sentence: str, **params: Any) -> Callable[[Failure], Change | None]:
    """Set these params, unless the step has them already."""

    def change(failure: Failure) -> Change | None:
        known = failure.step.params
        return None if all(known.get(name) == value for name, value in params.items()) else Change(sentence, params)

    return change


def _said(pattern: re.Pattern[str], change: Callable[[Failure], Change | None]) -> Callable[[Failure], Change | None]:
    """`change`, if the line of evidence mentions its cause: one code can have several causes."""

    def checked(failure: Failure) -> Change | None:
        evidence = failure.outcome.evidence
        return change(failure) if evidence is not None and pattern.search(evidence.text) else None

    return checked


def _more_iterations(default: int, sentence: str, factor: int = 2) -> Callable[[Failure], Change | None]:
    def change(failure: Failure) -> Change | None:
        now = int(failure.step.params.get("max_iterations") or default)
        return Change(sentence.format(more=now * factor, now=now), {"max_iterations": now * factor})

    return change


def _arena(failure: Failure) -> str | None:
    """The arena that was too small, from the line of evidence; None if the line does not show it."""
    text = failure.outcome.evidence.text if failure.outcome.evidence is not None else ""
    return next((name for name, pattern in _ARENAS if pattern.search(text)), None)


def _more_where_missing(failure: Failure) -> Change | None:
    """More memory for each rank, all of the increase in the arena that was too small."""
    found, arena = more_memory(failure), _arena(failure)
    if found is None or arena is None:
        return found
    return replace(found, sentence=f"{found.sentence}, the difference {_TO[arena]}", params={"memory_arena": arena})


def _raised(change: Callable[[Failure], Change | None]) -> Callable[[Failure], Change | None]:
    """`change`, with the increase for each rank in the arena of the deck's memory line that was too small."""

    def raised(failure: Failure) -> Change | None:
        found, arena = change(failure), _arena(failure)
        if found is None:
            return None
        # An arena that was too small before must not become too small again.
        before = str(failure.step.params.get("memory_arena") or "").split()
        arenas = [name for name in _TO if arena is None or name in (arena, *before)]
        sentence = f"{found.sentence}, the difference {' and '.join(_TO[name] for name in arenas)}"
        return replace(found, sentence=sentence, params={"memory_arena": " ".join(arenas)})

    return raised


def _nuclei_at_once(failure: Failure) -> Change | None:
    """The last array of a shielding grows with the requested nuclei; batches share one solution of the response."""
    params = failure.step.params
    nuclei = len(params.get("nuclei") or params.get("atoms") or ())
    now = int(params.get("nuclei_at_once") or nuclei)
    evidence = failure.outcome.evidence
    final = evidence is not None and _FINAL_INTEGRALS.search(evidence.text)
    # Fewer nuclei do not change a rank's private memory.
    private = failure.outcome.code == "memory_exhausted" and _arena(failure) in ("heap", "stack")
    if now < 2 or private or not (final or failure.grant.cores == 1):
        return None
    fewer_now = -(-now // 4)
    return Change(f"shieldings of {fewer_now} nuclei at a time, not of {now}", {"nuclei_at_once": fewer_now})


def _start_lower(failure: Failure) -> Change | None:
    """The next lower rung of the ladder of files reused from earlier attempts."""
    now = failure.step.params.get("resume_from")
    rungs = _RESUME_LADDER[_RESUME_LADDER.index(now) + 1 :] if now in _RESUME_LADDER else _RESUME_LADDER
    if not rungs:
        return None
    what = {"geometry": "the last geometry alone", "input": "the step's own input"}[rungs[0]]
    return Change(f"started from {what}, without the files of earlier attempts", {"resume_from": rungs[0]})


def _two_ranks(failure: Failure) -> Change | None:
    """MPI-PR spends one rank on communication."""
    demand = failure.step.demand
    if failure.grant.cores > 1 or failure.capacity.cores < 2:
        return None
    more = replace(demand, cores_min=2, cores_max=max(2, demand.cores_max))
    return Change("2 ranks: one of them is for communication", demand=more)


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(codes)


_TIGHT = _setting("orbitals converged to 1e-9 hartree and 1e-7 in density before the response", scf_tight=True)
_EVERY = (
    Remedy(
        "oversubscribe", _codes("slots_exhausted"), True,
        _setting("the launcher may start more ranks than it counts cores", oversubscribe=True),
    ),
    Remedy("two-ranks", _codes("slots_exhausted"), True, _two_ranks),
    Remedy(
        "fewer-ranks", _codes(*_MEMORY, "crashed", "slots_exhausted", "process_limit"), True, fewer("ranks"), cap=3
    ),
    Remedy("more-room", _codes("oom_killed"), True, more_memory),
)  # fmt: skip
_SCF_SMEARING = Remedy(
    "scf-smearing", _codes("scf_not_converged"), False,
    _setting("occupations smeared by 0.005 hartree", scf_smearing=True),
)  # fmt: skip
_SCF = (
    Remedy(
        "scf-iterations", _codes("scf_not_converged"), True,
        _setting(f"{_SCF_ITERATIONS} SCF iterations", scf_iterations=_SCF_ITERATIONS),
    ),
    Remedy(
        "scf-damping", _codes("scf_not_converged"), True,
        _setting("the SCF damped by 70 % until it settles", scf_damping=True),
    ),
    Remedy(
        "scf-level-shift", _codes("scf_not_converged"), True,
        _setting("virtual orbitals shifted by 0.5 hartree during the SCF", scf_level_shift=True, scf_damping=False),
    ),
)  # fmt: skip
_FRESH = Remedy(
    "fresh-start", _codes("restart_db_corrupt", "movecs_corrupt", "movecs_missing"), True, _start_lower, cap=2
)
_AUTOZ = _setting("Cartesian instead of internal coordinates (noautoz)", coordinates="cartesian")
_STEPS_MORE = _more_iterations(_STEPS, "{more} optimisation steps instead of {now}, from the last geometry")
_RESPONSE_MORE = _more_iterations(
    _RESPONSE_ITERATIONS, "{more} response iterations instead of {now}, from the converged orbitals", factor=3
)
_OF_TASK: dict[str, tuple[Remedy, ...]] = {
    "optimise": (
        _FRESH,
        Remedy("more-memory", _codes("memory_exhausted"), True, _more_where_missing),
        *_EVERY,
        *_SCF,
        _SCF_SMEARING,
        Remedy("noautoz", _codes("geometry_bad"), True, _said(_COORDINATES, _AUTOZ)),
        Remedy("more-steps", _codes("optimization_not_converged"), True, _STEPS_MORE, cap=3),
    ),
    "shielding": (
        _FRESH,
        Remedy("nuclei-in-batches", _codes(*_MEMORY), True, _nuclei_at_once, cap=3),
        Remedy("more-memory", _codes("memory_exhausted"), True, _more_where_missing),
        *_EVERY,
        *_SCF,
        Remedy("more-response", _codes("cphf_not_converged"), True, _RESPONSE_MORE, cap=2),
        Remedy("tight-orbitals", _codes("bad_reference_orbitals", "cphf_not_converged"), True, _TIGHT),
    ),
    "deck": (
        Remedy(
            "direct", _codes("scratch_full"), True,
            _setting("integrals computed when needed (direct), none written to disk", direct=True),
        ),
        Remedy("more-memory", _codes("memory_exhausted"), True, _raised(more_memory), cap=3),
        Remedy("fewer-ranks", _codes("memory_exhausted"), True, _raised(fewer("ranks")), cap=3),
        *_EVERY,
        Remedy(
            "scf-iterations", _codes("scf_not_converged"), True,
            _setting(f"{_SCF_ITERATIONS} SCF iterations", scf_iterations=_SCF_ITERATIONS),
        ),
        Remedy(
            "noautoz", _codes("geometry_bad"), True,
            _said(_COORDINATES, _setting("Cartesian instead of internal coordinates (noautoz)", noautoz=True)),
        ),
        Remedy(
            "noautosym", _codes("geometry_bad", "input_error"), True,
            _said(_SYMMETRY, _setting("the symmetry of the molecule is not used (noautosym)", noautosym=True)),
        ),
        Remedy(
            "more-steps", _codes("optimization_not_converged"), True,
            _more_iterations(_STEPS, "{more} optimisation steps, from the deck's own geometry"),
        ),
    ),
}  # fmt: skip


def of_task(task: str) -> tuple[Remedy, ...]:
    """The remedies of ``optimise``, ``shielding`` or ``deck``."""
    return _OF_TASK.get(task, ())
