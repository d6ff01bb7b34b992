"""Estimates the size of a calculation by rule: basis functions, memory, shared memory and scratch.

The figures decide what is reserved before a step starts; peak figures of earlier attempts may replace them later.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from qmrunner.model.jobs import Demand

# Peak resident memory of one idle rank of NWChem 7.0.2 is 97 MiB (measured); the rest is room for MPI buffers.
BASE_MIB_PER_RANK = 200
LOCAL_MIB_PER_RANK = 100
# Stack and heap of one rank: ethanol B3LYP/6-31G* used 23 + 4 MiB (measured). The heap holds the points of the grid.
_STACK_LEAST_MIB, _STACK_MIB = 48, 16
_HEAP_LEAST_MIB, _HEAP_MIB, _GRID_KIB_PER_ATOM = 16, 4, 720
_GLOBAL_LEAST_MIB = 32
# COSMO: maximum number of facets of a sphere (mxface of hnd_cosset), and surface points (12 to 14 per atom measured).
_FACETS, _POINTS_PER_ATOM = 43688, 32
# Private matrices of nbf**2 numbers of each rank, in an optimisation and in a shielding.
_STACK_MATRICES = (8, 16)
DECK_MIB_PER_RANK = 400
LAUNCHER_MIB = 64
# Up to 18 atoms 11 to 42 MiB were measured: database, orbitals, grids and temporary files.
_SCRATCH_MIB = 48
# In addition to the arrays by rule; without it optimisations of 15 to 18 atoms used all of the rule's memory.
_SHARED_MIB = 8
_CACHE_MOST_MIB = 256
_CACHE_RECORD_WORDS = 65536

_FIRST = ("H", "He")
_SECOND = ("Li", "Be", "B", "C", "N", "O", "F", "Ne")
_THIRD = ("Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar")
# Spherical functions per atom of the first, second and third row, and of all heavier ones.
_FUNCTIONS = {
    "sto-3g": (1, 5, 9, 18),
    "3-21g": (2, 9, 13, 23),
    "6-31g": (2, 9, 13, 30),
    "6-31g*": (2, 14, 18, 36),
    "6-31g**": (5, 14, 18, 36),
    "6-31+g*": (2, 18, 22, 40),
    "6-311g": (3, 13, 21, 35),
    "6-311g**": (6, 18, 26, 40),
    "6-311+g(2d,p)": (6, 27, 35, 50),
    "6-311++g(2d,2p)": (10, 27, 35, 50),
    "def2-svp": (5, 14, 18, 31),
    "def2-tzvp": (6, 31, 37, 48),
    "cc-pvdz": (5, 14, 18, 27),
    "cc-pvtz": (14, 30, 34, 43),
    "aug-cc-pvdz": (9, 23, 27, 36),
    "aug-cc-pvtz": (23, 46, 50, 59),
}
_LARGE = (10, 31, 37, 60)
_ALIASES = {"6-31g(d)": "6-31g*", "6-31g(d,p)": "6-31g**", "6-31+g(d)": "6-31+g*", "6-311g(d,p)": "6-311g**"}


def basis_functions(atoms: Sequence[str], basis: str) -> int:
    """The approximate number of basis functions that `atoms` (element symbols) have in `basis`; an unlisted basis
    counts as large."""
    size, heavier = _sizes(basis)
    return sum(size.get(atom.capitalize(), heavier) * number for atom, number in Counter(atoms).items())


@lru_cache(maxsize=64)  # a user's basis may have any name
def _sizes(basis: str) -> tuple[dict[str, int], int]:
    """The functions of light elements in `basis`, and of all others."""
    name = basis.lower().strip()
    first, second, third, heavier = _FUNCTIONS.get(_ALIASES.get(name, name), _LARGE)
    return dict.fromkeys(_FIRST, first) | dict.fromkeys(_SECOND, second) | dict.fromkeys(_THIRD, third), heavier


def global_mib(task: str, atoms: Sequence[str], basis: str) -> int:
    """Global arrays of all ranks together, MiB.

    An SCF with ten DIIS vectors holds about 40 matrices. The peak of a shielding is one array of 72 * atoms * nbf**2
    bytes (hnd_giaox_zora.F).
    """
    square = basis_functions(atoms, basis) ** 2
    peak = 72 * len(atoms) * square if task == "shielding" else 0
    return _SHARED_MIB + (40 * 8 * square + peak) // 2**20


def cached_integrals_mib(atoms: Sequence[str], basis: str) -> int:
    """Memory in which all two-electron integrals fit, MiB for all ranks together; 0 when that is too much to request.

    nbf**4 / 8 of them at most, eight bytes each and a tenth for their labels. Measured (ethanol, 6-31G*): 1.13 million
    integrals in 18 records of 65,536 words; CPU of the optimisation down by 17 %.
    """
    needed: int = basis_functions(atoms, basis) ** 4 * 11 // (8 * 10 * 2**17) + 2
    return needed if needed <= _CACHE_MOST_MIB else 0


def cached_words(ranks: int, cached_mib: int) -> int:
    """The cache of each rank, in words of eight bytes: its share, a quarter more for an uneven distribution, and a
    record."""
    return (cached_mib * 2**17 * 5 // (4 * ranks) + _CACHE_RECORD_WORDS) if cached_mib else 0


@dataclass(frozen=True, slots=True)
class Arenas:
    """The amount of each kind of memory for NWChem, MiB: `heap` and `stack` of each rank, `shared` for the global
    arrays of all ranks together.
    """

    heap: int
    stack: int
    shared: int

    @property
    def private(self) -> int:
        """Heap and stack of one rank."""
        return self.heap + self.stack

    def global_of(self, ranks: int) -> int:
        """The global arrays' share of one of `ranks`, with a quarter more for an uneven distribution."""
        return max(_GLOBAL_LEAST_MIB, -(-self.shared * 5 // (4 * ranks)))


def arenas(task: str, atoms: Sequence[str], basis: str, cosmo: bool) -> Arenas:
    """The memory of an optimisation or a shielding of `atoms`, in a solvent (`cosmo`) or in the gas phase.

    The stack holds the work arrays: each rank's copies of matrices, and in a solvent also the arrays for the
    construction of the surface or for the solution of its charges, whichever are larger.
    """
    functions = basis_functions(atoms, basis)
    matrices = _STACK_MATRICES[task == "shielding"] * 8 * functions**2 // 2**20
    surface = max(surface_mib(len(atoms)), charges_mib(len(atoms))) if cosmo else 0
    return Arenas(
        heap=max(_HEAP_LEAST_MIB, _HEAP_MIB + len(atoms) * _GRID_KIB_PER_ATOM // 1024),
        stack=max(_STACK_LEAST_MIB, _STACK_MIB + max(matrices, surface)),
        shared=global_mib(task, atoms, basis),
    )


def surface_mib(atoms: int) -> int:
    """The construction of COSMO's surface on the stack of every rank, MiB.

    NWChem reserves room for 43,688 facets on each atom, seven numbers each, and once more for the sphere they are cut
    from (hnd_cosset in 7.0.2 to 7.3.1). Measured with 29 to 98 atoms: within 1 % (docs/explanation/calculations.md).
    """
    return -(-_FACETS * 7 * 8 * (atoms + 1) // 2**20) + 1


def charges_mib(atoms: int) -> int:
    """The matrix for the solution of COSMO's charges, on the stack of every rank, MiB: the square of the points."""
    return -(-8 * (_POINTS_PER_ATOM * atoms) ** 2 // 2**20)


def demand_of_molecule(task: str, atoms: Sequence[str], basis: str, cosmo: bool = True) -> Demand:
    """The reservation of an optimisation or shielding of `atoms` in `basis`, in a solvent or in the gas phase."""
    need = arenas(task, atoms, basis, cosmo)
    matrices = 12 * 8 * basis_functions(atoms, basis) ** 2 // 2**20
    return Demand(
        cores_min=1,
        cores_max=useful_cores(len(atoms)),
        memory_mib_per_core=BASE_MIB_PER_RANK + local_mib(need),
        memory_mib_base=LAUNCHER_MIB + need.shared * 5 // 4 + cached_integrals_mib(atoms, basis) * 5 // 4,
        scratch_mib=_SCRATCH_MIB + 2 * len(atoms) + 4 * matrices,
        shm_mib=_SHARED_MIB + need.shared,
    )


def local_mib(need: Arenas) -> int:
    """The part of the reservation that a rank's memory line uses in addition to its share of the arrays: heap, stack,
    rounding."""
    return max(LOCAL_MIB_PER_RANK, need.private + _GLOBAL_LEAST_MIB + 2)


def demand_of_deck(memory_mib_per_rank: int | None) -> Demand:
    """The reservation of a user's deck whose memory line requests this much, or which has none."""
    wanted = memory_mib_per_rank or DECK_MIB_PER_RANK
    return Demand(
        cores_min=1,
        cores_max=8,
        memory_mib_per_core=BASE_MIB_PER_RANK + wanted,
        memory_mib_base=LAUNCHER_MIB,
        scratch_mib=1024,
        shm_mib=48,  # a container's default of 64 MiB is enough for one small deck
    )


def useful_cores(atoms: int) -> int:
    """The number of ranks beyond which more do not help: two for up to four atoms, then one per atom, 32 at most."""
    return 2 if atoms <= 4 else min(32, atoms)


def ranks_that_fit(cores: int, memory_mib: int, need: Arenas) -> int:
    """How many ranks with these arenas fit into the memory of a grant, at least one."""
    room = (memory_mib - LAUNCHER_MIB - need.shared * 5 // 4) // (BASE_MIB_PER_RANK + local_mib(need))
    return max(1, min(cores, room))


def deck_memory_mib(ranks: int, memory_mib: int) -> int:
    """The maximum total of one rank's memory line under a grant of `memory_mib` for all ranks."""
    return max(LOCAL_MIB_PER_RANK, (memory_mib - LAUNCHER_MIB) // ranks - BASE_MIB_PER_RANK)


def memory_directive(ranks: int, memory_mib: int, need: Arenas, cached_mib: int = 0, raised: str | None = None) -> str:
    """The memory line of each rank: the needed memory, and the rest of `memory_mib`, which is granted to all ranks.

    `cached_mib` is for integrals of all ranks, on the stack. The rest goes to the arena that a remedy `raised`
    (``heap``, ``stack`` or ``global``), else half to the stack and half to the global arrays. If the grant is too
    small, the line exceeds it, because NWChem could not work with less.
    """
    cache = math.ceil(cached_words(ranks, cached_mib) / 2**17)
    share = {"heap": need.heap, "stack": need.stack + cache, "global": need.global_of(ranks)}
    left = max(0, deck_memory_mib(ranks, memory_mib) - sum(share.values()))
    for name in (raised,) if raised in share else ("stack", "global"):
        share[str(name)] += left if raised in share else left // 2
    return f"memory heap {share['heap']} mb stack {share['stack']} mb global {share['global']} mb"
