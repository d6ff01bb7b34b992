"""The environment an engine gets: the daemon's, less what must not leak or disturb, plus what the engine asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qmrunner.runtime.tree import MARKER
from qmrunner.settings import PREFIX

# A launcher above us (Slurm, another mpirun) must not be taken for the engine's own.
_FOREIGN = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDRA_", "MPIEXEC_", "SLURM_", "OMP_", "MKL_", "KMP_", "GFORTRAN_")


def compose(
    inherited: Mapping[str, str], wanted: Mapping[str, str], unset: Iterable[str], marker: str
) -> dict[str, str]:
    """The full environment of one attempt. Settings (which may hold a database password) are not passed on."""
    dropped = set(unset)
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith((PREFIX, *_FOREIGN)) and name not in dropped
    }
    return {**kept, **wanted, MARKER: marker}
