"""Messages of machines, builds and launchers that this one does not have, each at the end of a failed run's log.

The texts are those of public reports and of the programs' sources: MPICH and Intel MPI, Open MPI 4 and 5 on a cluster,
batch systems, container engines, Intel Fortran, other dynamic loaders, network file systems.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.base import Context, Installed
from qmrunner.engines.crest.engine import Crest
from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Exit, Grant
from tests.engines.errquit_blocks import block
from tests.engines.support import step
from tests.engines.test_signature_catalogue import CATALOGUES

# (text, exit status, code)
MESSAGES: list[tuple[str, int, str]] = [
    # MPICH, Intel MPI
    ("MPIDI_OFI_mpi_init_hook(544): OFI addrinfo() failed (ofi_init.c:544:No data available)", 15, "mpi_network"),
    ("find_provider(2683)..........: OFI fi_getinfo() failed (ofi_init.c:2683:No data available)", 143, "mpi_network"),
    ("find_provider(170).........: OFI fi_getinfo() failure", 143, "mpi_network"),
    ("create_vni_context(1362).....: OFI endpoint open failed (ofi_init.c:1362:Invalid argument)", 15, "mpi_network"),
    ("MPIDI_OFI_init_local(580): OFI fi_fabric failed (ofi_init.c:580:Invalid argument)", 15, "mpi_network"),
    ("MPID_nem_tcp_init(384).............: gethostbyname failed, node7 (errno 1)", 1, "mpi_network"),
    ("Abort(874629) (rank 6 in comm 49): Fatal error in PMPI_Recv: Other MPI error, error stack:", 15, "mpi_failed"),
    # Open MPI
    ("  PML add procs failed", 1, "mpi_network"),
    ("There are no allocated resources for the application:", 1, "slots_exhausted"),
    ("All nodes which are allocated for this job are already filled.", 1, "slots_exhausted"),
    ("A request was made to bind to that would result in binding more", 1, "slots_exhausted"),
    ("Your job has requested more processes than the ppr for this topology can support:", 1, "slots_exhausted"),
    ("ORTE was unable to reliably start one or more daemons.", 1, "launcher_failed"),
    ("PRTE was unable to reliably start one or more daemons.", 1, "launcher_failed"),
    ("  plm_rsh_agent: ssh : rsh", 1, "launcher_failed"),
    ("ORTE has lost communication with a remote daemon.", 1, "launcher_failed"),
    ("Sorry!  You were supposed to get help about:", 1, "launcher_failed"),
    ("*** An error occurred in MPI_Init", 1, "launcher_failed"),
    ("[n1:1] OPAL ERROR: Error in file pmix3x_client.c at line 112", 1, "launcher_failed"),
    # batch systems
    ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=123.0. Some of your processes may", 137, "oom_killed"),
    ("slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch. Some of the step tasks", 137, "oom_killed"),
    ("srun: error: n01: task 0: Out Of Memory", 137, "oom_killed"),
    ("slurmstepd: error: Exceeded job memory limit at some point.", 137, "oom_killed"),
    ("slurmstepd: error: Job 12 exceeded memory limit (2000 > 1000), being killed", 137, "oom_killed"),
    ("=>> PBS: job killed: mem 4194304kb exceeded limit 2097152kb", 143, "oom_killed"),
    ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.", 137, "oom_killed"),
    ("=>> PBS: job killed: walltime 3610 exceeded limit 3600", 143, "terminated"),
    ("TERM_RUNLIMIT: job killed after reaching LSF run time limit.", 140, "terminated"),
    ("slurmstepd: error: *** JOB 1 ON n01 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***", 1, "terminated"),
    ("slurmstepd: error: *** STEP 1.0 ON n01 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***", 1, "terminated"),
    # containers
    ("FATAL:   could not open image /images/nwchem.sif: no such file or directory", 255, "image_missing"),
    ('Error: short-name "nwchem" did not resolve to an alias and no registries are defined', 125, "image_missing"),
    ("FATAL:   container creation failed: mount /proc/self/fd/3 error: bad superblock", 255, "container_failed"),
    ("ERROR  : Failed to create user namespace: user namespace disabled", 1, "container_failed"),
    ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", 1, "container_failed"),
    ("docker: permission denied while trying to connect to the Docker daemon socket", 1, "container_failed"),
    # other loaders and libraries
    ("Error loading shared library libgfortran.so.5: No such file or directory (needed by x)", 127, "library_broken"),
    ("Error relocating /usr/bin/nwchem: __strdup: symbol not found", 127, "library_broken"),
    ("dyld[123]: Library not loaded: @rpath/libgfortran.5.dylib", 134, "library_broken"),
    ("dyld: Symbol not found: _dgemm_", 134, "library_broken"),
    ("Intel oneMKL FATAL ERROR: Cannot load libmkl_core.so.", 2, "library_broken"),
    ("OMP: Error #15: Initializing libiomp5.so, but found libomp.so already initialized.", 134, "library_broken"),
    ("OMP: Error #136: Cannot create thread.", 134, "openmp_threads"),
    ("BLAS : Program is Terminated. Because you tried to allocate too many memory regions.", 1, "openmp_threads"),
    # Intel Fortran and other run-time libraries
    ("forrtl: severe (41): insufficient virtual memory", 41, "memory_refused"),
    ("forrtl: severe (38): error during write, unit 6, file stdout", 38, "work_file_unwritable"),
    ("forrtl: severe (168): Program Exception - illegal instruction", 168, "illegal_instruction"),
    ("forrtl: error (76): Abort trap signal", 134, "crashed"),
    ("forrtl: error (78): process killed (SIGTERM)", 1, "terminated"),
    ("forrtl: error (69): process interrupted (SIGINT)", 1, "interrupted"),
    ("Operating system error: Cannot allocate memory", 1, "memory_refused"),
    ("Error allocating 800000000 bytes", 1, "memory_refused"),
    ("terminate called after throwing an instance of 'std::bad_alloc'", 134, "memory_refused"),
    ("double free or corruption (!prev)", 134, "crashed"),
    ("malloc(): corrupted top size", 134, "crashed"),
    ("Bus error (core dumped)", 1, "bus_error"),
    # file systems
    ("cat: write error: Stale file handle", 1, "file_system_failed"),
    ("cp: cannot stat 'a': Transport endpoint is not connected", 1, "file_system_failed"),
    ("Fortran runtime error: Input/output error", 1, "file_system_failed"),
    ("sh: 1: cannot create x: Read-only file system", 1, "directory_not_accessible"),
]  # fmt: skip
CLASSES = {
    "operator": {
        "mpi_network", "launcher_failed", "image_missing", "container_failed", "library_broken", "work_file_unwritable",
        "illegal_instruction", "directory_not_accessible",
    },
    "resource": {"slots_exhausted", "oom_killed", "openmp_threads", "memory_refused", "bus_error"},
    "transient": {"mpi_failed", "terminated", "crashed", "interrupted", "file_system_failed"},
}  # fmt: skip
# Warnings of the same programs, after which a run continues, and words that only sound like theirs.
HARMLESS = [
    "[[62635,1],0]: A high-performance Open MPI point-to-point messaging module",
    "was unable to find any relevant network interfaces:",
    "Another transport will be used instead, although this may result in",
    "WARNING: There was an error initializing an OpenFabrics device.",
    "mca_base_component_repository_open: unable to open mca_btl_openib: libibverbs.so.1 (ignored)",
    'As of version 3.0.0, the "sm" BTL is no longer available in Open MPI.',
    "OpenBLAS warning: precompiled NUM_THREADS exceeded, adding auxiliary array for thread metadata.",
    "Authorization required, but no authorization protocol specified",
    "Unexpected end of /proc/mounts line",
    "PMIx was unable to find a usable compression library",
    "srun: job 123 queued and waiting for resources",
    "          Memory utilization after 1st SCF pass: ",
    " !! warning: memory limit of the integral cache reached",
]


@pytest.mark.parametrize(("text", "status", "code"), MESSAGES, ids=[row[0][:50] for row in MESSAGES])
def test_a_message_has_its_code_behind_every_engine(text: str, status: int, code: str, tmp_path: Path) -> None:
    log = tmp_path / "step.1.log"
    for program, catalogue in CATALOGUES.items():
        for front in ("", "[1,0]<stderr>:"):
            log.write_text(f"a line before\n{front}{text}\na line behind\n")
            found = catalogue.classify(log, Exit(status))
            assert found is not None, program
            assert found.code == code, (program, found)
            assert code in CLASSES[found.failure_class]
            assert found.evidence.text == f"{front}{text}"


@pytest.mark.parametrize("program", ["xtb", "crest"])
def test_a_crash_of_intels_build_is_one_of_the_stack(program: str, tmp_path: Path) -> None:
    log = tmp_path / "step.1.log"
    log.write_text("forrtl: severe (174): SIGSEGV, segmentation fault occurred\n")
    found = CATALOGUES[program].classify(log, Exit(174))
    assert found is not None
    assert (found.code, found.failure_class) == ("openmp_stack", "operator")


@pytest.mark.parametrize("text", HARMLESS)
def test_a_warning_explains_no_failure(text: str, tmp_path: Path) -> None:
    log = tmp_path / "step.1.log"
    log.write_text(f"a line before\n{text}\n")
    assert {name: catalogue.classify(log, Exit(3)) for name, catalogue in CATALOGUES.items()} == dict.fromkeys(
        CATALOGUES
    )


@pytest.mark.parametrize(
    "warning",
    [
        "PSM2 was unable to open an endpoint. Please make sure that the network link is",
        "[n1:1] OPAL ERROR: Error in file pmix3x_client.c at line 112",
        "MPID_nem_tcp_init(384).............: gethostbyname failed, node7 (errno 1)",
    ],
)
def test_an_abort_of_nwchem_is_its_cause_whatever_the_network_reported_before(warning: str, tmp_path: Path) -> None:
    log = tmp_path / "step.1.log"
    log.write_text(f"{warning}\n{block('grid_zorbit: not coded for that', 'CAPMIS_ERR')}")
    outcome = NWChem().interpret(step("nwchem", "deck"), tmp_path, log, Exit(255))
    assert (outcome.code, outcome.failure_class) == ("not_implemented", "permanent")


@pytest.mark.parametrize("engine", [Xtb(), Crest()], ids=lambda engine: engine.name)
def test_messages_of_wrapper_scripts_are_in_the_language_of_the_signatures(engine: Xtb | Crest, tmp_path: Path) -> None:
    context = Context(tmp_path, {}, Grant(1, 500, 100, 0), Installed(engine.name, str(tmp_path / engine.name)), None)
    assert engine.environment(context)["LC_ALL"] == "C"
