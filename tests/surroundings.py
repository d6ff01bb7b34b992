"""What the tests take over from their caller: as little as possible, named one by one.

A list of what disturbs would never be complete: schedulers, shells, proxies and numerical libraries have hundreds of
variables. So what is not in this list does not reach a test, a daemon or an engine. Umask, zone, language and home are
set. A hostile run (`tests.hostile`) lets through on purpose what the program itself must bear.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Mapping

HOSTILE = "TESTS_HOSTILE"
# A PostgreSQL server to use instead of one of the tests' own, e.g. postgresql://postgres@localhost/postgres.
_POSTGRES = "QMRUNNER_TEST_POSTGRES"
POSTGRES = "TESTS_POSTGRES"  # the same where settings are read: it is none
_KEPT = (
    "CI", "PATH", "LD_LIBRARY_PATH", "TMPDIR", "USER", "LOGNAME", "E2E_IMAGE", "ECHOED_DECKS", "TESTS_ALL",
    HOSTILE, POSTGRES,
    "NWCHEM_BASIS_LIBRARY", "NWCHEM_NWPW_LIBRARY", "XTBPATH", "XTBHOME", "OPAL_PREFIX",  # where engines are installed
)  # fmt: skip
_KEPT_BEGINNINGS = ("PYTEST_", "COVERAGE_", "DOCKER_", "CANARY_")
# What the program bears: it keeps these from its engines, or does not mind them.
BORNE = ("OMP_", "OPENBLAS_", "MKL_", "GOMP_", "KMP_", "OMPI_", "PMIX_", "PMI_", "PRTE_", "SLURM_", "PBS_", "I_MPI_PIN",
         "HYDRA_", "UCX_", "XDG_", "LANG", "LC_", "TZ")  # fmt: skip
_SET = {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    # The width of help and messages.
    "COLUMNS": "200",
    "NO_COLOR": "1",
}


def taken(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of the tests, of all that their caller has; without HOME."""
    beginnings = _KEPT_BEGINNINGS + (BORNE if variables.get(HOSTILE) else ())
    kept = {name: value for name, value in variables.items() if name in _KEPT or name.startswith(beginnings)}
    if variables.get(_POSTGRES):
        kept[POSTGRES] = variables[_POSTGRES]
    if variables.get("HOME"):
        kept.setdefault("DOCKER_CONFIG", os.path.join(variables["HOME"], ".docker"))
    return {**_SET, **kept}


def plain() -> dict[str, str]:
    """The variables for a program that a test starts by itself: without what only qmrunner keeps from its engines."""
    return {name: value for name, value in os.environ.items() if not name.startswith(BORNE)} | _SET


def take_over() -> None:
    """Make this process, and so all that it starts, independent of who started it. Workers of one run share a home."""
    home = os.environ.get("HOME", "")
    if not {"PYTEST_XDIST_WORKER", HOSTILE} & os.environ.keys():
        os.umask(0o022)
        home = tempfile.mkdtemp(prefix="qmhome-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    variables = {**taken(os.environ), "HOME": home}
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
