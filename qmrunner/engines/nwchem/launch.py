"""Finds NWChem and its launcher, the MPI they belong to, and the matching command line and environment.

Flavours: ``openmpi4``, ``openmpi5``, ``mpich`` (Hydra; Intel MPI is of this family, too). A launcher of one MPI starts
a binary of another as N separate one-rank runs that overwrite each other's files, so a mismatch is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qmrunner.engines import BINARIES
from qmrunner.engines.base import Installed, Which
from qmrunner.engines.nwchem import kernels
from qmrunner.errors import NotReadyError
from qmrunner.model.jobs import Reach

_NAME = "nwchem"
_FACTS = r"\(NWChem\) [0-9][0-9.]*|ranks per node, must be at least"


# Programs next to a launcher that it starts: its daemon or proxy, by flavour.
_DAEMONS = {
    "openmpi4": ("orterun", "orted"),
    "openmpi5": ("prterun", "prte", "prted"),
    "mpich": ("mpiexec.hydra", "hydra_pmi_proxy", "hydra_bstrap_proxy", "hydra_persist"),
}
# Measured with 4.1.4: the launcher's own listener on IPv4 and IPv6, and the one that ranks connect to.
_PORTS = {
    "openmpi4": (
        "OMPI_MCA_oob_tcp_static_ipv4_ports", "OMPI_MCA_oob_tcp_static_ipv6_ports", "PMIX_MCA_ptl_tcp_ipv4_port",
    ),
}  # fmt: skip
_RC_LINE = re.compile(r"^[ \t]*\w+[ \t]+(/\S*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the ranks: `argv` up to the deck's name, and notes with the reasons."""

    argv: tuple[str, ...]
    notes: tuple[str, ...]


def locate(configured: Mapping[str, str | None], which: Which) -> Installed:
    """The NWChem binary and its launcher: as configured, else matching names on PATH."""
    binary = _find(configured.get("nwchem"), BINARIES[_NAME], which)
    if binary is None:
        return Installed(_NAME, None)
    named = _flavour_by_name(binary)
    candidates = {
        "openmpi": ("mpirun.openmpi", "mpirun"),
        "mpich": ("mpirun.mpich", "mpiexec.hydra", "mpiexec", "mpirun"),
    }
    names = candidates.get(named or "", ("mpirun", "mpiexec"))
    launcher = _find(configured.get("mpirun"), names, which)
    return Installed(_NAME, binary, facts={"mpirun": launcher, "data": _rc_data()})


def rc_files() -> tuple[Path, Path]:
    """The files in which NWChem looks for its folders after the environment: the user's, then the machine's."""
    return Path("~/.nwchemrc").expanduser(), Path("/etc/nwchemrc")


def _rc_data() -> list[str]:
    """The existing rc files, and the folders they name."""
    found = []
    for file in rc_files():
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += [str(file), *_RC_LINE.findall(text)]
    return found


def _find(configured: str | None, names: Sequence[str], which: Which) -> str | None:
    """The configured program and no other, or the first of `names` that exists."""
    if configured:
        return which(configured)
    return next((path for path in map(which, names) if path), None)


def probe_argv(found: Installed) -> Sequence[tuple[str, ...]]:
    """The launcher's version, the binary's libraries, and the version string in the binary.

    NWChem has no version option, and a run leaves files behind: its version string is read from the binary.
    """
    if found.path is None:
        return ()
    launcher = found.facts.get("mpirun")
    binary = str(Path(found.path).resolve())
    version = (launcher, "--version") if launcher else ("true",)
    return (version, ("ldd", binary), ("grep", "-a", "-o", "-E", _FACTS, binary))


def read_probe(found: Installed, outputs: Sequence[str]) -> Installed:
    """Version, flavours and the progress rank of MPI-PR builds; `problem` is the reason why it cannot be started, or
    None."""
    if found.path is None or len(outputs) < 3:
        return found
    version = re.search(r"\(NWChem\) ([0-9.]*[0-9])", outputs[2])
    launcher = launcher_flavour(outputs[0])
    binary = binary_flavour(outputs[1]) or _flavour_by_name(found.path)
    facts = {
        **found.facts,
        "launcher_flavour": launcher,
        "launcher_version": next((line.strip() for line in outputs[0].splitlines() if line.strip()), None),
        "binary_flavour": binary,
        "progress_rank": "ranks per node, must be at least" in outputs[2],
        "libraries_missing": re.findall(r"^\s*(\S+) => not found", outputs[1], re.MULTILINE),
        "problem": _problem(found, launcher, binary),
    }
    return replace(found, version=version[1] if version else None, facts=facts)


def launcher_flavour(version_output: str) -> str | None:
    """The flavour from `mpirun --version`, or None for an unknown one."""
    open_mpi = re.search(r"\((?:Open MPI|OpenRTE)\) (\d+)", version_output)
    if open_mpi:
        return "openmpi5" if int(open_mpi[1]) >= 5 else "openmpi4"
    return "mpich" if re.search(r"HYDRA|MPICH|Intel\(R\) MPI", version_output) else None


def binary_flavour(ldd_output: str) -> str | None:
    """The MPI family from the libraries of a binary, or None when it is linked statically."""
    if re.search(r"libmpi(_mpifh|_usempi\w*)?\.so\.(1\d\d|[4-9]\d|20)\b|libopen-(pal|rte)\.so", ldd_output):
        return "openmpi"
    return "mpich" if re.search(r"libmpich|libmpifort\.so|libmpi\.so\.12\b|libmpicxx\.so", ldd_output) else None


def launch(installed: Installed, ranks: int, oversubscribe: bool = False) -> Launch:
    """The command line for `ranks` compute ranks.

    Raises NotReadyError without a program or launcher to start them. `oversubscribe` repeats on the command line what
    the environment sets already, because a site's launcher may drop variables.
    """
    flavour, launcher = installed.facts.get("launcher_flavour"), installed.facts.get("mpirun")
    if installed.path is None:
        raise NotReadyError("engine_missing", "NWChem is not installed.", remedy="Install it or set QMRUNNER_NWCHEM.")
    problem = installed.facts.get("problem")
    if problem or not launcher or not flavour:
        message = problem or "No MPI launcher of a known kind was found."
        raise NotReadyError(
            "launcher_mismatch", message, remedy="Set QMRUNNER_MPIRUN to the launcher of NWChem's own MPI."
        )
    argv: tuple[str, ...] = (launcher, "-np", str(ranks))
    if flavour == "mpich":
        argv = (launcher, "-launcher", "fork", "-n", str(ranks))
    elif oversubscribe:
        argv += ("--oversubscribe",) if flavour == "openmpi4" else ("--map-by", ":OVERSUBSCRIBE")
    notes = [f"launcher: {flavour}, {ranks} rank{'s' if ranks > 1 else ''}, not bound to cores, CMA off"]
    if ranks == 1:
        notes.append("launcher: also used for one rank: a bare rank would start a daemon in a separate session")
    return Launch((*argv, installed.path), tuple(notes))


def private_directories(flavour: str | None, tmp: Path) -> dict[str, str]:
    """Variables that keep sessions and the launcher's shared-memory files in `tmp`, so that kill -9 leaves none behind.

    Measured with Open MPI 4.1.4: no slower, nothing left in /dev/shm or /tmp, paths of 311 characters work.
    """
    variables = {"TMPDIR": str(tmp)}
    if flavour == "openmpi4":
        variables["OMPI_MCA_btl_vader_backing_directory"] = str(tmp)
    if flavour == "openmpi5":
        variables["OMPI_MCA_btl_sm_backing_directory"] = str(tmp)
    return variables


def reach(installed: Installed) -> Reach:
    """What launcher and ranks need to access on the machine. Open MPI would forward the output of ranks through
    pseudo-terminals, and takes pipes where it cannot (measured with 4.1.4)."""
    flavour, launcher = str(installed.facts.get("launcher_flavour")), installed.facts.get("mpirun")
    programs = [program for program in (launcher, installed.path) if program]
    if launcher:
        folders = dict.fromkeys((Path(launcher).parent, Path(launcher).resolve().parent))
        programs += [str(folder / name) for folder in folders for name in _DAEMONS.get(flavour, ())]
    settings = ("~/.openmpi", "~/.pmix", "~/.prte")
    # Measured with MPICH on UCX, which reads its peers in /proc and signals through Unix sockets. Landlock still
    # protects the memory and environment of other processes.
    processes = () if flavour in _PORTS else ("/proc",)
    return Reach(
        programs=tuple(programs),
        data=(*installed.facts.get("data", ()), *(str(Path(name).expanduser()) for name in settings), *processes),
        shared_memory=True,
        ports=_PORTS.get(flavour, ()),
        any_port=flavour not in _PORTS,
        local_ipc=flavour not in _PORTS,
    )


def environment(installed: Installed, tmp: Path) -> dict[str, str]:
    """The variables of launcher and ranks. `tmp` is for sessions and the launcher's shared memory.

    A launcher of an unknown flavour gets no specific ones; `launch` refuses it.
    """
    flavour = installed.facts.get("launcher_flavour")
    common = {
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TZ": "UTC", "LC_ALL": "C",
        "GFORTRAN_UNBUFFERED_PRECONNECTED": "1", "SCRATCH_DIR": ".", "PERMANENT_DIR": ".",
        "HWLOC_COMPONENTS": "-gl",  # it would look for an X server
    }  # fmt: skip
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    flavours = {
        # Oversubscription is allowed because Open MPI counts cores and qmrunner counts hardware threads; ranks never
        # exceed the grant.
        "openmpi4": root | {
            "OMPI_MCA_hwloc_base_binding_policy": "none",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
            "OMPI_MCA_btl": "self,vader",  # all ranks are on this machine: no listeners on the network
        },
        "openmpi5": root | {
            "PRTE_MCA_hwloc_default_binding_policy": "none",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
            "OMPI_MCA_smsc": "^cma",
        },
        "mpich": {"HYDRA_BINDING": "none", "I_MPI_PIN": "0", "HYDRA_LAUNCHER": "fork"},
    }  # fmt: skip
    return common | kernels.variables() | flavours.get(str(flavour), {}) | private_directories(flavour, tmp)


def _flavour_by_name(binary: str) -> str | None:
    name = Path(binary).resolve().name
    return next((flavour for flavour in ("openmpi", "mpich") if flavour in name), None)


def _problem(found: Installed, launcher: str | None, binary: str | None) -> str | None:
    path = found.facts.get("mpirun")
    if path is None:
        return "NWChem is installed, but mpirun is not."
    if launcher is None:
        return f"{path} is neither Open MPI nor Hydra."
    if binary is not None and not launcher.startswith(binary):
        return f"{found.path} is built for {binary}, but {path} belongs to {launcher}."
    return None
