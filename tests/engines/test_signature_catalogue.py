"""The catalogue of known failures of engines and launchers, row by row, and recordings made worse."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines import crest, nwchem, xtb
from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.signatures import Catalogue, load
from qmrunner.model.jobs import Exit
from tests.engines.support import FIXTURES, exit_of, step

CATALOGUES: dict[str, Catalogue] = {
    name: load(Path(str(module.__file__)).with_name("signatures.toml"))
    for name, module in {"nwchem": nwchem, "xtb": xtb, "crest": crest}.items()
}
# (row, program, text, exit, code). The rows are those of the field's catalogue; a text is what its source prints.
ROWS: list[tuple[int, str, str, Exit, str]] = [
    (1, "nwchem", "!! Terminating execution since time remaining    0.", Exit(1), "time_limit_reached"),
    (1, "nwchem", " Exiting due to time limitations", Exit(1), "time_limit_reached"),
    (2, "crest", " recieved SIGTERM, trying to terminate CREST...", Exit(143), "terminated"),
    (2, "xtb", "recieved SIGINT, terminating...", Exit(1), "interrupted"),
    (2, "nwchem", "", Exit(143), "terminated"),
    (2, "nwchem", "", Exit(130), "interrupted"),
    (3, "nwchem", "exited on signal 9 (Killed).", Exit(137, oom_kills=1), "oom_killed"),
    (3, "nwchem", "exited on signal 9 (Killed).", Exit(137), "killed"),
    (4, "nwchem", "[host:12] Signal: Bus error (7)", Exit(135), "bus_error"),
    (4, "nwchem", "exited on signal 7 (Bus error).", Exit(135), "bus_error"),
    (4, "xtb", "", Exit(135), "bus_error"),
    (5, "nwchem", "[0] check_devshm: /dev/shm out of space", Exit(1), "shm_exhausted"),
    (5, "nwchem", "you need to increase /dev/shm by 512 Mbytes", Exit(1), "shm_exhausted"),
    (6, "nwchem", "_shm_create: shm_open: Permission denied", Exit(1), "shm_exhausted"),
    (6, "nwchem", "_shm_create: ftruncate: No space left on device", Exit(1), "shm_exhausted"),
    (6, "nwchem", "shmget error ENOMEM", Exit(1), "shm_exhausted"),
    (7, "nwchem", "ranks per node, must be at least 2", Exit(1), "slots_exhausted"),
    (8, "nwchem", "It appears as if there is not enough space for /dev/shm/vader", Exit(1), "shm_exhausted"),
    (9, "nwchem", "There are not enough slots available in the system", Exit(1), "slots_exhausted"),
    (10, "nwchem", "  prte_init() failed", Exit(1), "tmpdir_unusable"),
    (10, "nwchem", "  orte_init failed", Exit(1), "tmpdir_unusable"),
    (11, "nwchem", "the session directory is owned by another user", Exit(1), "tmpdir_unusable"),
    (12, "nwchem", "mpirun has detected an attempt to run as root.", Exit(1), "root_refused"),
    (
        14,
        "nwchem",
        "[mpiexec@host] match_arg: unrecognized argument oversubscribe",
        Exit(255),
        "launcher_option_rejected",
    ),
    (15, "xtb", "forrtl: No space left on device", Exit(1), "scratch_full"),
    (16, "xtb", "libgomp: Thread creation failed: Resource temporarily unavailable", Exit(1), "openmp_threads"),
    (16, "crest", "OpenBLAS blas_thread_init: pthread_create failed for thread 3", Exit(1), "openmp_threads"),
    (17, "nwchem", "", Exit(132), "illegal_instruction"),
    (17, "xtb", "Illegal instruction (core dumped)", Exit(132), "illegal_instruction"),
    (18, "xtb", "", Exit(127), "engine_missing"),
    (18, "xtb", "", Exit(126), "permission_denied"),
    (18, "crest", " xtb binary was not found", Exit(1), "engine_missing"),
    (19, "xtb", "Program received signal SIGSEGV: Segmentation fault", Exit(None, 11), "openmp_stack"),
    (19, "crest", "", Exit(139), "openmp_stack"),
    (20, "nwchem", "", Exit(139), "crashed"),
    (21, "nwchem", "int2e_packed_buf_write: write failed        8", Exit(255), "scratch_full"),
    (22, "nwchem", "could not write cphf_rhs  1", Exit(255), "permanent_full"),
    (22, "nwchem", "ga_lkain:could not write solution  1", Exit(255), "permanent_full"),
    (22, "nwchem", "movec_write failed", Exit(255), "permanent_full"),
    (23, "nwchem", "not enough space to allocate 80000 bytes", Exit(255), "memory_exhausted"),
    (23, "nwchem", "ma_push_get failed for buf", Exit(255), "memory_exhausted"),
    (23, "nwchem", "ma_verify_allocator_stuff: failed", Exit(255), "memory_corrupt"),
    (24, "nwchem", "ma_init failed (ga_uses_ma=F)", Exit(255), "memory_refused"),
    (25, "nwchem", "schwarz_init: insufficient memory  12", Exit(255), "memory_exhausted"),
    (25, "nwchem", "movecs_lock: insufficient memory  12", Exit(255), "memory_exhausted"),
    (26, "nwchem", "nga_create failed g_x", Exit(255), "memory_exhausted"),
    (26, "nwchem", "could not allocate g_dens", Exit(255), "memory_exhausted"),
    (26, "nwchem", "gai_get_shmem: ARMCI Malloc failed", Exit(255), "shm_exhausted"),
    (27, "nwchem", "get_par: nga_create failed g_h11", Exit(255), "memory_exhausted"),
    (28, "nwchem", "Inconsistent memory specification", Exit(255), "memory_spec_invalid"),
    (28, "nwchem", "inp_match: units missing", Exit(255), "memory_spec_invalid"),
    (29, "nwchem", "geom_binvr: #indep variables incorrect   1", Exit(1), "geometry_bad"),
    (29, "nwchem", "autoz bonds: too many internals", Exit(1), "geometry_bad"),
    (29, "nwchem", "regeneration of autoz failed", Exit(1), "geometry_bad"),
    (30, "nwchem", "sym_center_map is inconsistent with requested accuracy", Exit(1), "geometry_bad"),
    (31, "nwchem", "cphf_solve2:SCF residual greater than 1d-2", Exit(255), "bad_reference_orbitals"),
    (32, "nwchem", "lkain: not converged   0", Exit(255), "cphf_not_converged"),
    (33, "nwchem", "Calculation failed to converge", Exit(255), "scf_not_converged"),
    (34, "nwchem", "Failed to converge in maximum number of steps", Exit(255), "optimization_not_converged"),
    (35, "nwchem", "task_gradient failed  0", Exit(255), "scf_not_converged"),
    (35, "nwchem", "hnd_property: energy failure  0", Exit(255), "scf_not_converged"),
    (36, "nwchem", "  !! warning: dft energy failed", Exit(0), "scf_not_converged"),
    (37, "nwchem", "could not read mo vectors", Exit(255), "movecs_corrupt"),
    (38, "nwchem", "rtdb_open old failed  0", Exit(255), "restart_db_missing"),
    (39, "nwchem", "scratch directory not accessible", Exit(255), "directory_not_accessible"),
    (40, "nwchem", "no such basis available", Exit(255), "basis_not_found"),
    (40, "nwchem", "failed to open basis library", Exit(255), "basis_library_missing"),
    (41, "nwchem", "#electrons not valid for multiplicity  11", Exit(11), "charge_multiplicity"),
    (42, "nwchem", "NMR shielding cannot be calculated for UHF", Exit(255), "open_shell_unsupported"),
    (43, "nwchem", "processed input with no task", Exit(255), "no_task"),
    (44, "nwchem", "0:0:hnd_something: odd:: 0\n(rank:0) 0:Received an Error in Communication", Exit(1), "unknown"),
    (45, "nwchem", "  d= 0,ls=0.0,diis     1    -76.3703493982", Exit(0), "truncated_output"),
    (46, "xtb", "-1- scf: Self consistent charge iterator did not converge", Exit(1), "scf_not_converged"),
    (47, "xtb", "convergence criteria cannot be satisfied within 250 iterations", Exit(1), "scf_not_converged"),
    (48, "xtb", "|grad| > 500, something is totally wrong!", Exit(1), "geometry_bad"),
    (48, "xtb", "energy is bogus! aborting", Exit(1), "geometry_bad"),
    (48, "xtb", "Some atoms in the start geometry are *very* close", Exit(1), "geometry_bad"),
    (49, "xtb", "Geometry optimization failed", Exit(1), "optimization_not_converged"),
    (50, "xtb", "solvent: 'pyridine' is not parametrized", Exit(1), "illegal_solvent"),
    (51, "xtb", "2 unpaired electrons specified is not consistent", Exit(1), "charge_multiplicity"),
    (52, "xtb", "external termination of xtb", Exit(1), "terminated"),
    (53, "crest", "Change in topology detected!", Exit(156), "topology_changed"),
    (54, "crest", "Initial geometry optimization failed!", Exit(155), "geometry_bad"),
    (55, "crest", "Automatic MD restart failed 6 times!", Exit(1), "md_unstable"),
    (56, "crest", "empty ensemble file", Exit(1), "no_conformers"),
    (56, "crest", "0 of 14 structures successfully optimized", Exit(1), "no_conformers"),
    (58, "crest", "will not read .CHRG", Exit(1), "input_error"),
    (59, "crest", "CREST terminated due to invalid configuration", Exit(20), "input_error"),
    (59, "crest", "CREST terminated with I/O errors", Exit(2), "work_file_unwritable"),
    (59, "crest", "CREST terminated abnormally", Exit(1), "unknown"),
]
# What launchers, loaders and shells say, in their own words: (program, text, exit, code). Each also behind a prefix.
LAUNCHED: list[tuple[str, str, Exit, str]] = [
    # Open MPI 4 and 5
    (
        "nwchem",
        "mpirun noticed that process rank 1 with PID 71 on node n exited on signal 11 (Segmentation fault).",
        Exit(139),
        "crashed",
    ),
    (
        "nwchem",
        "prterun noticed that process rank 1 with PID 71 on node n exited on signal 6 (Aborted).",
        Exit(134),
        "crashed",
    ),
    (
        "nwchem",
        "prterun noticed that process rank 1 with PID 71 on node n exited on signal 9 (Killed).",
        Exit(137),
        "killed",
    ),
    ("nwchem", "[node7:00071] Signal: Segmentation fault (11)", Exit(1), "crashed"),
    (
        "nwchem",
        "prterun was unable to find the specified executable file, and therefore did not launch",
        Exit(1),
        "engine_missing",
    ),
    ("nwchem", "No executable was specified on the prterun command line.", Exit(1), "engine_missing"),
    ("nwchem", "OPAL ERROR: Unreachable in file ext3x_client.c at line 112 of pmix", Exit(1), "launcher_mismatch"),
    ("nwchem", "The application appears to have been direct launched using 'srun',", Exit(1), "launcher_mismatch"),
    # MPICH and Intel MPI
    (
        "nwchem",
        "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)",
        Exit(139),
        "crashed",
    ),
    ("nwchem", "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)", Exit(9), "killed"),
    ("nwchem", "=   KILLED BY SIGNAL: 7 (Bus error)", Exit(7), "bus_error"),
    (
        "nwchem",
        "[proxy:0:0@n] HYDU_create_process: execvp error on file nwchem (No such file or directory)",
        Exit(255),
        "engine_missing",
    ),
    (
        "nwchem",
        "[proxy:0:0@n] HYDU_create_process: execvp error on file nwchem (Permission denied)",
        Exit(255),
        "permission_denied",
    ),
    ("nwchem", "MPIR_pmi_init(141).....: PMI2_Init failed", Exit(15), "launcher_mismatch"),
    # the dynamic loader
    (
        "nwchem",
        "nwchem: error while loading shared libraries: libmpi.so.40: cannot open shared object file: No such file",
        Exit(127),
        "library_broken",
    ),
    (
        "xtb",
        "xtb: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by xtb)",
        Exit(1),
        "library_broken",
    ),
    ("xtb", "xtb: symbol lookup error: xtb: undefined symbol: dsygvd_", Exit(127), "library_broken"),
    ("crest", "libgomp.so.1: cannot allocate memory in static TLS block", Exit(1), "library_broken"),
    ("crest", "crest: error while loading shared libraries: libx.so: invalid ELF header", Exit(127), "library_broken"),
    (
        "crest",
        "error while loading shared libraries: libx.so: failed to map segment from shared object",
        Exit(127),
        "library_broken",
    ),
    (
        "xtb",
        "Inconsistency detected by ld.so: dl-version.c: 205: _dl_check_map_versions: Assertion",
        Exit(127),
        "library_broken",
    ),
    ("xtb", "Fatal glibc error: CPU does not support x86-64-v3", Exit(127), "illegal_instruction"),
    # what NWChem names wrongly
    ("nwchem", " prop_input-EFGZ4-Nocc_a: rtdb_put failed                 555", Exit(43), "not_implemented"),
    ("nwchem", " task: no task input for theory?                   0", Exit(255), "input_error"),
    # shells
    ("xtb", "sh: 1: xtb: not found", Exit(127), "engine_missing"),
    ("xtb", "bash: xtb: command not found", Exit(127), "engine_missing"),
    ("xtb", "/bin/sh: xtb: not found", Exit(127), "engine_missing"),
    ("xtb", "run.sh: line 3: xtb: command not found", Exit(127), "engine_missing"),
    ("xtb", "env: 'xtb': No such file or directory", Exit(127), "engine_missing"),
    ("xtb", "bash: ./xtb: /usr/bin/pyton: bad interpreter: No such file or directory", Exit(126), "engine_missing"),
    ("xtb", "bash: ./xtb: cannot execute: required file not found", Exit(127), "engine_missing"),
    ("xtb", "sh: 1: ./xtb: Permission denied", Exit(126), "permission_denied"),
    ("xtb", "bash: ./xtb: Permission denied", Exit(126), "permission_denied"),
    ("xtb", "run.sh: line 3: ./xtb: Permission denied", Exit(126), "permission_denied"),
    ("xtb", "bash: ./xtb: cannot execute binary file: Exec format error", Exit(126), "exec_format"),
    ("xtb", "sh: 1: ./xtb: Exec format error", Exit(2), "exec_format"),
    ("xtb", "run.sh: line 3:  4711 Killed                  xtb a.xyz", Exit(1), "killed"),
    ("xtb", "Killed", Exit(1), "killed"),
    ("nwchem", "run.sh: line 3:  4711 Segmentation fault      (core dumped) nwchem a.nw", Exit(1), "crashed"),
]
# Texts that look bad and mean nothing: blocked CMA, a lost metadynamics run among others.
NOISE = [
    (13, "nwchem", "Read -1, expected 32768, errno = 1"),
    (21, "nwchem", "eaf_write: rc ne bytes 0"),
    (57, "crest", "*MTD 3 terminated EARLY"),
]


@pytest.mark.parametrize(("row", "program", "text", "exit", "code"), ROWS, ids=lambda value: str(value)[:40])
def test_a_known_text_or_exit_has_its_code(
    row: int, program: str, text: str, exit: Exit, code: str, tmp_path: Path
) -> None:
    log = tmp_path / "step.1.log"
    log.write_text(f"a line before\n{text}\na line behind\n")
    finding = CATALOGUES[program].classify(log, exit)
    assert finding is not None
    assert finding.code == code, (row, finding)
    if text and "truncated" not in code:
        assert finding.evidence.text in text


@pytest.mark.parametrize(("program", "text", "exit", "code"), LAUNCHED, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("end", ["", "\r"], ids=["lf", "crlf"])
def test_what_launchers_loaders_and_shells_say_has_its_code(
    program: str, text: str, exit: Exit, code: str, end: str, tmp_path: Path
) -> None:
    log = tmp_path / "step.1.log"
    log.write_bytes(f"a line before{end}\n{text}{end}\n".encode())
    for seen in (exit, Exit(1)):  # the text alone must do: wrappers change the status
        finding = CATALOGUES[program].classify(log, seen)
        assert finding is not None
        assert finding.code == code, finding
        assert finding.evidence.text == text


@pytest.mark.parametrize(("row", "program", "text"), NOISE)
def test_noise_explains_nothing(row: int, program: str, text: str, tmp_path: Path) -> None:
    log = tmp_path / "step.1.log"
    log.write_text(f"{text}\n")
    assert CATALOGUES[program].classify(log, Exit(3)) is None


# --- recordings made worse

RECORDED = {
    program: [(path.parent, json.loads(path.read_text())) for path in sorted((FIXTURES / program).glob("*/meta.json"))]
    for program in ("nwchem", "xtb")
}
# Refused at submission; what xTB makes of it is another failure (see test_xtb_recorded).
ANOTHER = {"xyz-decimal-comma"}
# Two lines say the same there.
SAID_TWICE = {"engine-not-executable"}
REPORTED = [
    (program, folder, meta)
    for program, cases in RECORDED.items()
    for folder, meta in cases
    if meta["expected"]["detectable_from"] == "text"
    and meta["expected"]["evidence"]
    and meta["expected"]["outcome"] == "failed"
    and meta["exit_code"] != 0
    and folder.name not in ANOTHER
]
SUCCESSES = [
    (program, folder, meta)
    for program, cases in RECORDED.items()
    for folder, meta in cases
    if meta["expected"]["outcome"] == "succeeded"
]
Worse = Callable[[list[bytes], str], list[bytes]]


def crlf(lines: list[bytes], evidence: str) -> list[bytes]:
    return [line + b"\r" for line in lines]


def interleaved(lines: list[bytes], evidence: str) -> list[bytes]:
    """Two ranks that say the same, their lines in each other's way but each rank's in order."""
    dice, ranks, mixed = random.Random(len(lines)), [list(lines), list(lines)], []
    while any(ranks):
        rank = dice.choice([one for one in ranks if one])
        mixed.append(rank.pop(0))
    return mixed


def cut_behind(lines: list[bytes], evidence: str) -> list[bytes]:
    """The log ends with the line that decides: the disk was full, or the power failed."""
    last = next(i for i, line in enumerate(lines) if line.decode(errors="replace").rstrip() == evidence)
    return lines[: last + 1]


def noisy(lines: list[bytes], evidence: str) -> list[bytes]:
    """Bytes that are no text, and a warning of every kind, in front."""
    front = [b"\xff\xfe\x00 garbage", b"Read -1, expected 4096, errno = 1", b"[1] ARMCI Warning: x"]
    return [*front, *lines]


def told(program: str, lines: list[bytes], meta: dict[str, Any], tmp_path: Path) -> tuple[str | None, str | None]:
    log = tmp_path / "step.1.log"
    log.write_bytes(b"\n".join(lines) + b"\n")
    oom_kills = int((meta.get("container") or {}).get("oom_killed", False))
    finding = CATALOGUES[program].classify(log, exit_of(meta, oom_kills=oom_kills))
    return (finding.code, finding.evidence.text) if finding else (None, None)


def lines_of(folder: Path) -> list[bytes]:
    return ((folder / "stdout.txt").read_bytes() + (folder / "stderr.txt").read_bytes()).split(b"\n")


@pytest.mark.parametrize("worse", [crlf, interleaved, noisy])
def test_a_recorded_failure_keeps_its_code_and_evidence_in_a_worse_log(worse: Worse, tmp_path: Path) -> None:
    wrong = []
    for program, folder, meta in REPORTED:
        expected = meta["expected"]
        found = told(program, worse(lines_of(folder), expected["evidence"]), meta, tmp_path)
        if found[0] != expected["code"] or (found[1] != expected["evidence"] and folder.name not in SAID_TWICE):
            wrong.append((folder.name, found, expected["code"], expected["evidence"]))
    assert not wrong


def test_a_log_cut_behind_the_line_that_decides_still_reports_the_cause(tmp_path: Path) -> None:
    wrong = []
    for program, folder, meta in REPORTED:
        if folder.name == "syntax-missing-end":
            continue  # two lines decide together there, and the second is cut off
        expected = meta["expected"]
        code, _ = told(program, cut_behind(lines_of(folder), expected["evidence"]), meta, tmp_path)
        if code != expected["code"]:
            wrong.append((folder.name, code, expected["code"]))
    assert not wrong


@pytest.mark.parametrize("prefix", [b"[1,0]<stdout>:", b"[0] ", b"node7: "], ids=["tag-output", "rank", "host"])
def test_prefixes_of_launchers_hide_no_cause(prefix: bytes, tmp_path: Path) -> None:
    wrong = []
    for program, folder, meta in REPORTED:
        expected = meta["expected"]
        code, _ = told(program, [prefix + line for line in lines_of(folder)], meta, tmp_path)
        if code != expected["code"]:
            wrong.append((folder.name, code, expected["code"]))
    assert not wrong


@pytest.mark.parametrize(("program", "folder", "meta"), SUCCESSES, ids=lambda value: getattr(value, "name", ""))
def test_a_success_cut_short_is_none_and_a_whole_one_stays_one(
    program: str, folder: Path, meta: dict[str, Any], tmp_path: Path
) -> None:
    if program != "nwchem":
        pytest.skip("the same for xTB, with its files, stands in test_xtb_recorded")
    log = tmp_path / "step.1.log"
    lines = lines_of(folder)
    states = []
    for some in (lines, [line + b"\r" for line in lines], lines[: len(lines) * 3 // 4]):
        log.write_bytes(b"\n".join(some) + b"\n")
        states.append(NWChem().interpret(step("nwchem", "deck", deck="input.nw"), folder, log, exit_of(meta)).state)
    assert states == ["succeeded", "succeeded", "failed"]


def test_the_successes_recorded_are_all_there() -> None:
    assert len(SUCCESSES) == 38
    assert len(REPORTED) > 60
