"""The environment of an engine, composed in one place: the daemon's, minus disturbing variables, plus required ones.

Engines return the variables they need (`Engine.environment`). Conflicting variables of the daemon are replaced or
dropped here, with the reason, and the attempt's notes list them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from qmrunner.guardian.process_tree import MARKER
from qmrunner.settings import PREFIX

# PBS, LSF, Grid Engine, Flux, Cray, Cobalt, LoadLeveler, Fujitsu: their variables make a launcher look for their nodes.
_OTHER_BATCH = (
    "PBS_", "LSB_", "LSF_", "JSM_", "SGE_", "PE_HOSTFILE", "FLUX_", "PALS_", "ALPS_", "COBALT_", "LOADL_", "PJM_",
)  # fmt: skip
# Prefixes of variables that reach an engine only if the engine itself sets them, and why.
_DROPPED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "a launcher or scheduler above us would be taken for the engine's own",
        (
            "OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDRA_", "MPIEXEC_", "I_MPI_PIN", "SLURM_", "SLURMD_", "SBATCH_",
            "SRUN_", *_OTHER_BATCH,
        ),
    ),
    ("cores and threads are those of the grant", ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_")),
    ("output reaches the log line by line, scratch files do not", ("GFORTRAN_",)),
    (
        "memory and folders are those of the attempt",
        ("NWCHEM_MEMORY_TOTAL", "NWCHEM_PERMANENT_DIR", "NWCHEM_SCRATCH_DIR"),
    ),
)  # fmt: skip
_BATCH = ("SLURM_", "SLURMD_", *_OTHER_BATCH)
# The operator's value is kept. NWChem appends a file name directly.
FOLDERS = ("NWCHEM_BASIS_LIBRARY", "NWCHEM_NWPW_LIBRARY")
# Programs without their own thread setting get one thread.
_BASE = {"TZ": "UTC", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_STORAGE = "AWS_"
_WANTED = "set by qmrunner"
_SLASH = "NWChem needs the slash at its end"
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|JWT|CREDENTIAL|COOKIE|AUTH|PROXY", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^/\s]*:[^/\s]*@")
_LONGEST_VALUE = 60
_FEW = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One variable that differs from the daemon's. `was` is None when the daemon has none, `now` when it is dropped.

    `was` never holds a value that looks like a secret.
    """

    name: str
    was: str | None
    now: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Composed:
    """The variables of an attempt, and how they differ from the daemon's."""

    variables: Mapping[str, str]
    changes: tuple[Change, ...]

    @property
    def conflicts(self) -> tuple[Change, ...]:
        """Changes of variables that the daemon had inherited."""
        return tuple(change for change in self.changes if change.was is not None)

    def notes(self) -> tuple[str, ...]:
        """The conflicts in one line for the attempt's notes; empty when there are none."""
        replaced = [f"{c.name} {c.was} replaced by {c.now}" for c in self.conflicts if c.now is not None]
        parts = [*replaced, *dropped_in_words(c for c in self.conflicts if c.now is None)]
        return (f"environment: {'; '.join(parts)}",) if parts else ()


def compose(inherited: Mapping[str, str], wanted: Mapping[str, str], directory: Path, marker: str) -> Composed:
    """The environment of an attempt that works in `directory`.

    Does not pass on settings, which may hold a database password, or any other variable that looks like a secret.
    """
    daemon = {name: value for name, value in inherited.items() if not _is_private(name, value)}
    folders = {name: _with_slash(daemon[name]) for name in FOLDERS if daemon.get(name)}
    given = {"TMPDIR": str(directory), **_BASE, **wanted, **folders}
    kept = {name: value for name, value in daemon.items() if name not in given and not why_dropped(name)}
    changes = [
        Change(name, _shown(name, daemon.get(name)), value, _SLASH if name in folders else _WANTED)
        for name, value in given.items()
        if daemon.get(name) != value
    ]
    changes += [
        Change(name, _shown(name, value), None, why)
        for name, value in daemon.items()
        if name not in given and (why := why_dropped(name))
    ]
    return Composed({**kept, **given, MARKER: marker}, tuple(sorted(changes, key=lambda change: change.name)))


def _is_private(name: str, value: str) -> bool:
    return name.startswith((PREFIX, _STORAGE)) or _looks_secret(name, value)


def _looks_secret(name: str, value: str) -> bool:
    return bool(_SECRET.search(name) or _URL_WITH_PASSWORD.search(value))


def why_dropped(name: str) -> str | None:
    """Why an inherited variable of this name is not passed on; None when it is."""
    return next((why for why, names in _DROPPED if name.startswith(names)), None)


def is_of_a_job(name: str) -> bool:
    """Whether a batch system set this variable for its job: it belongs there, and only engines must not see it."""
    return name.startswith(_BATCH)


def dropped_in_words(changes: Iterable[Change]) -> list[str]:
    """`dropped OMP_PLACES=cores`; only the number when a family has many members."""
    words = []
    for family, group in groupby(sorted(changes, key=lambda c: c.name), lambda c: c.name.partition("_")[0]):
        members = list(group)
        if len(members) > _FEW:
            words.append(f"dropped {len(members)} variables {family}_*")
        else:
            words += [f"dropped {member.name}={member.was}" for member in members]
    return words


def _with_slash(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


def _shown(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if _looks_secret(name, value):
        return "(not shown)"
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
