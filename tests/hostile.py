"""The tests once more, started in a hostile environment: `python -m tests.hostile --seed 1 -- PYTEST-ARGUMENTS`.

Variables of schedulers, launchers and numerical libraries, settings, a foreign language, zone and umask, and a home
and a temporary folder with blanks and umlauts. `surroundings` keeps from the tests what would change a setting; what
the program itself must bear goes through to its processes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.surroundings import HOSTILE

_FAMILIES = {
    "OMP_": ("NUM_THREADS", "PLACES", "PROC_BIND", "STACKSIZE", "SCHEDULE", "DYNAMIC", "THREAD_LIMIT"),
    "OPENBLAS_": ("CORETYPE", "NUM_THREADS", "VERBOSE", "L2_SIZE", "MAIN_FREE"),
    "MKL_": ("NUM_THREADS", "DYNAMIC", "INTERFACE_LAYER"),
    "SLURM_": ("JOB_ID", "NTASKS", "CPUS_PER_TASK", "NODELIST", "JOB_NODELIST", "TASKS_PER_NODE", "PROCID", "LOCALID"),
    "PBS_": ("JOBID", "NODEFILE", "NCPUS", "O_WORKDIR", "ENVIRONMENT"),
    "OMPI_": ("MCA_btl", "MCA_plm", "MCA_hwloc_base_binding_policy", "COMM_WORLD_RANK", "UNIVERSE_SIZE"),
    "PMIX_": ("RANK", "NAMESPACE", "SERVER_URI2", "SERVER_URI4"),
    "PMI_": ("FD", "RANK", "SIZE"),
    "UCX_": ("TLS", "NET_DEVICES"),
    "I_MPI_": ("PIN", "PIN_DOMAIN", "FABRICS"),
    "QMRUNNER_": ("HOME", "STORE_URL", "SLOTS", "CORES", "XTB", "NWCHEM", "REUSE", "REDIS_URL", "NO_SUCH"),
    "AWS_": ("PROFILE", "ENDPOINT_URL", "ACCESS_KEY_ID", "CA_BUNDLE", "REGION"),
}  # fmt: skip
_VALUES = ("1", "64", "cores", "none", "/nonexistent", "a b;c", "°", "0", "true")
_ALWAYS = {
    "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "7", "PYTHONDONTWRITEBYTECODE": "1",
    "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9",
    "SSL_CERT_FILE": "/nonexistent", "REQUESTS_CA_BUNDLE": "/nonexistent", "FORCE_COLOR": "1", "COLUMNS": "20",
    "LINES": "3", "TERM": "dumb", "CDPATH": "/", "ENV": "/nonexistent", "BASH_ENV": "/nonexistent",
    "PGHOST": "127.0.0.1", "PGUSER": "nobody", "PGOPTIONS": "-c x=y", "TZ": "Pacific/Kiritimati",
}  # fmt: skip
_LANGUAGES = ("C", "POSIX", "de_DE", "de_DE.UTF-8", "tr_TR.ISO-8859-9", "nonsense")
_UMASKS = (0o000, 0o077, 0o027)


def variables(seed: int, given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Those of a hostile run: `given`, and what `seed` chooses. Homes are in `folder`."""
    chance = random.Random(seed)
    chosen = {
        f"{family}{name}": chance.choice(_VALUES) for family, names in _FAMILIES.items() for name in names
        if chance.random() < 0.7
    }  # fmt: skip
    language = {name: chance.choice(_LANGUAGES) for name in ("LANG", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LANGUAGE")}
    folders = {"HOME": str(folder / "Müller's home"), "TMPDIR": str(folder / "tmp ß")}
    # Relative ones would be used as they are, by libraries that keep a cache.
    bases = {f"XDG_{name}_HOME": str(folder / f"xdg {name} ß") for name in ("CONFIG", "CACHE", "DATA", "STATE")}
    return {**given, **chosen, **_ALWAYS, **language, **folders, **bases, HOSTILE: str(seed)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("pytest", nargs="*")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qm höstile "))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    made = variables(asked.seed, os.environ, folder)
    for name in ("HOME", "TMPDIR"):
        Path(made[name]).mkdir()
    Path(made["TMPDIR"]).chmod(0o1777)
    umask = random.Random(asked.seed).choice(_UMASKS)
    os.umask(umask)
    print(
        f"hostile run: seed {asked.seed}, umask {umask:03o}, LANG {made['LANG']}, LC_ALL {made['LC_ALL']}", flush=True
    )
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *asked.pytest], made)


if __name__ == "__main__":
    main()
