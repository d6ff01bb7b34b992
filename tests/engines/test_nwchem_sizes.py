"""The memory of generated decks: planned for what NWChem was seen to use, more for more, and reserved as asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.engines.nwchem import NWChem, remedies, resources
from qmrunner.model.jobs import Evidence, Grant, Outcome
from qmrunner.model.packing import Capacity
from qmrunner.model.remedies import Failure, propose
from tests.engines.support import step

_LINE = re.compile(r"memory heap (\d+) mb stack (\d+) mb global (\d+) mb")
BASES = ["sto-3g", "6-31G*", "6-311+G(2d,p)"]
TASKS = ["optimise", "shielding"]


@dataclass(frozen=True)
class Seen:
    """What one rank of NWChem 7.0.2 used at most, bytes (its own statistics): docs/explanation/calculations.md."""

    atoms: dict[str, int]
    basis: str
    cosmo: bool
    heap: int
    stack: int


# The first SCF iteration, one rank. The heap's share is of the grid, which several ranks divide.
MEASURED = [
    Seen({"C": 8, "O": 1, "H": 18}, "sto-3g", True, 19330720, 68921320),
    Seen({"C": 9, "H": 20}, "sto-3g", True, 20703456, 73816472),
    Seen({"C": 9, "H": 20}, "sto-3g", False, 20677304, 22520696),
    Seen({"C": 16, "H": 34}, "sto-3g", True, 35584576, 125209080),
    Seen({"C": 27, "O": 1, "H": 46}, "sto-3g", True, 52838968, 183940568),
    Seen({"C": 32, "H": 66}, "sto-3g", True, 69687176, 242679352),
]


def symbols(counts: dict[str, int]) -> list[str]:
    return [symbol for symbol, count in counts.items() for _ in range(count)]


def asked(line: str) -> tuple[int, int, int]:
    hit = _LINE.fullmatch(line)
    assert hit is not None, line
    return int(hit[1]), int(hit[2]), int(hit[3])


@pytest.mark.parametrize("seen", MEASURED, ids=lambda seen: f"{sum(seen.atoms.values())}-{seen.basis}-{seen.cosmo}")
@pytest.mark.parametrize("task", TASKS)
def test_what_was_measured_fits_what_is_planned(seen: Seen, task: str) -> None:
    need = resources.arenas(task, symbols(seen.atoms), seen.basis, seen.cosmo)
    assert need.heap * 2**20 >= seen.heap * 0.99
    assert need.stack * 2**20 >= seen.stack
    assert need.stack * 2**20 <= 2.5 * seen.stack, "planned for more than it is worth"


@given(
    carbons=st.integers(0, 60), hydrogens=st.integers(1, 120), more=st.integers(1, 20),
    basis=st.sampled_from(BASES), task=st.sampled_from(TASKS), cosmo=st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_more_atoms_and_a_solvent_never_need_less(
    carbons: int, hydrogens: int, more: int, basis: str, task: str, cosmo: bool
) -> None:
    small, large = ["C"] * carbons + ["H"] * hydrogens, ["C"] * (carbons + more) + ["H"] * hydrogens
    one, other = (resources.arenas(task, atoms, basis, cosmo) for atoms in (small, large))
    assert (one.heap, one.stack, one.shared) <= (other.heap, other.stack, other.shared)
    assert one.stack <= resources.arenas(task, small, basis, True).stack
    assert one.shared <= resources.arenas("shielding", small, basis, cosmo).shared
    lesser, greater = (resources.demand_of_molecule(task, atoms, basis, cosmo) for atoms in (small, large))
    assert lesser.memory_mib_per_core <= greater.memory_mib_per_core
    assert lesser.shm_mib <= greater.shm_mib


@given(
    heavy=st.integers(0, 60), hydrogens=st.integers(1, 120), cores=st.integers(1, 32), extra=st.integers(0, 20000),
    basis=st.sampled_from(BASES), task=st.sampled_from(TASKS), cosmo=st.booleans(), cached=st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_reservation_and_memory_line_agree(
    heavy: int, hydrogens: int, cores: int, extra: int, basis: str, task: str, cosmo: bool, cached: bool
) -> None:
    atoms = ["C"] * heavy + ["H"] * hydrogens
    demand, need = resources.demand_of_molecule(task, atoms, basis, cosmo), resources.arenas(task, atoms, basis, cosmo)
    granted = demand.memory_mib(cores) + extra
    ranks = resources.ranks_that_fit(cores, granted, need)
    assert ranks == cores
    integrals = resources.cached_integrals_mib(atoms, basis) if cached else 0
    heap, stack, shared = asked(resources.memory_directive(ranks, granted, need, integrals))
    assert heap >= need.heap
    assert stack * 2**20 >= need.stack * 2**20 + 8 * resources.cached_words(ranks, integrals)
    assert shared * ranks * 4 >= need.shared * 5
    assert ranks * (heap + stack + shared + resources.BASE_MIB_PER_RANK) <= granted


def test_a_small_molecule_asks_for_no_more_than_before() -> None:
    for atoms in (["O", "H", "H"], ["C", "C", "O"] + ["H"] * 6, ["C"] * 6 + ["H"] * 6):
        demand = resources.demand_of_molecule("optimise", atoms, "6-31G*", True)
        assert demand.memory_mib_per_core == 300


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("line", "arena"),
    [
        (" hndcosset: not enuf mem                    5", "stack"),
        (" hnd_coschg: out of memory: lineq = 0         950", "stack"),
        ("MA_push_get: could not push", "stack"),
        (" ma_alloc_get failed                    33", "heap"),
        (" createfile: failed ga_create g_a                 1", "global"),
    ],
)
def test_a_remedy_raises_the_arena_that_was_too_small(task: str, line: str, arena: str) -> None:
    atoms = ["C"] * 9 + ["H"] * 20
    params = {"atoms": atoms, "basis": "6-31G*", "cosmo": "chcl3"}
    demand = NWChem().demand(task, params)
    asking = replace(step("nwchem", task, **params), demand=demand)
    outcome = Outcome("failed", "memory_exhausted", failure_class="resource", evidence=Evidence(line, "log", 1))
    grant = Grant(1, demand.memory_mib(1), demand.scratch_mib, demand.shm_mib)
    failure = Failure(asking, outcome, grant, Capacity(1, 1, 16000))
    known = [one for one in remedies.of_task(task) if one.name == "more-memory" or arena != "global"]
    found = propose(failure, known, "neutral")
    assert found is not None
    assert found.record["remedy"] == "more-memory"
    need = resources.arenas(task, atoms, "6-31G*", True)
    before = asked(resources.memory_directive(1, grant.memory_mib, need))
    raised = asked(resources.memory_directive(1, found.demand.memory_mib(1), need, 0, found.params["memory_arena"]))
    assert found.params["memory_arena"] == arena
    index = ("heap", "stack", "global").index(arena)
    assert raised[index] >= before[index] + 100
