"""Aborts of NWChem that no signature knows: read from the block of `errquit`, and judged by category and message."""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmrunner.engines import abort_families
from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.output import errquit
from qmrunner.engines.nwchem.output.errquit import Abort, AbortReader
from qmrunner.model.jobs import Evidence, Exit, Outcome
from tests.engines.errquit_blocks import HYDRA, OPEN_MPI_4, OPEN_MPI_5, RULE, SENTENCES, block
from tests.engines.support import step

WRAPPERS = {"open-mpi-4": OPEN_MPI_4, "open-mpi-5": OPEN_MPI_5, "hydra": HYDRA, "none": ""}
# (message, category, code, class): made up in NWChem's style; none is a message that a signature knows.
CASES = [
    ("frobnicate: no room for the quux tables", "MA_ERR", "memory_exhausted", "resource"),
    ("zz_t2_9_9_9", "MA_ERR", "memory_exhausted", "resource"),
    ("frobnicate: g_quux", "GA_ERR", "memory_exhausted", "resource"),
    ("frobnicate: not enuf room, need more mem", "MEM_ERR", "memory_exhausted", "resource"),
    ("quux_load: heap gone", "HEAP_ERR", "memory_exhausted", "resource"),
    ("frobnicate: no quux in the table", "RTDB_ERR", "rtdb_failed", "permanent"),
    ("frobnicate: put of quux failed", "RTDB_ERR", "rtdb_failed", "resource"),
    ("frobnicate: no ao basis", "BASIS_ERR", "basis_not_found", "permanent"),
    ("frobnicate: bas_quux", "BASIS_ERR", "basis_bad", "permanent"),
    ("frobnicate: atom without a charge", "GEOM_ERR", "geometry_bad", "permanent"),
    ("frobnicate: non-Abelian groups make trouble", "GEOM_ERR", "geometry_bad", "method"),
    ("frobnicate: constraints and internals", "GEOM_ERR", "geometry_bad", "method"),
    ("frobnicate: what is a quux", "INPUT_ERR", "input_error", "permanent"),
    ("frobnicate: multiplicity of 3 is absurd", "INPUT_ERR", "charge_multiplicity", "permanent"),
    ("frobnicate with quux", "CAPMIS_ERR", "not_implemented", "permanent"),
    ("frobnicate: higher than I", "INT_ERR", "aborted", "permanent"),
    ("frobnicate: error writing the quux", "DISK_ERR", "scratch_full", "resource"),
    ("frobnicate: error reading the quux", "DISK_ERR", "io_failed", "resource"),
    ("frobnicate_energy: maxiter exceeded", "CALC_ERR", "not_converged", "method"),
    ("frobnicate: the quux blew up", "CALC_ERR", "aborted", "method"),
    ("frobnicate: you should not be here", "UNKNOWN_ERR", "aborted", "permanent"),
    ("createquux: failed ga_create", "UNKNOWN_ERR", "memory_exhausted", "resource"),
    ("frobnicate: quux is not yet supported", "UERR", "not_implemented", "permanent"),
    ("newfmm: quux", "FMM_ERR", "aborted", "permanent"),
]


def judged(text: str, directory: Path, exit: Exit | None = None, **params: str) -> Outcome:
    log = directory / "step.1.log"
    log.write_text(text, encoding="utf-8")
    inputs = {"input.nw": "input/input.nw", "more.nw": "input/more.nw"}
    return NWChem().interpret(step("nwchem", "deck", inputs, deck="input.nw"), directory, log, exit or Exit(255))


def read(text: str) -> Abort | None:
    reader = AbortReader("a.log")
    for number, line in enumerate(text.split("\n"), 1):
        reader.feed(line, number)
    return reader.found


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize(("message", "category", "code", "failure_class"), CASES, ids=lambda value: str(value)[:30])
def test_an_abort_that_was_never_seen_has_code_class_and_remedy_under_every_launcher(
    message: str, category: str, code: str, failure_class: str, wrapper: str, tmp_path: Path
) -> None:
    got = judged(block(message, category, wrapper=wrapper), tmp_path)
    assert (got.state, got.code, got.failure_class) == ("failed", code, failure_class), got
    assert got.remedy
    assert got.evidence is not None
    assert got.evidence.text == f" {message}{0:20d}"
    assert got.evidence.line == 3
    assert (got.evidence.input_file, got.evidence.input_line) == ("input/input.nw", 18)


@pytest.mark.parametrize("category", sorted({case[1] for case in CASES}))
def test_every_category_is_read_from_its_sentence(category: str) -> None:
    found = read(block("frobnicate: quux", category, value=-7, line=(4, "xc b3lypp")))
    assert found is not None
    assert (found.message, found.value, found.routine, found.input_line) == (
        "frobnicate: quux", -7, "frobnicate", (4, "xc b3lypp"),
    )  # fmt: skip
    assert found.category == ("memory" if category not in SENTENCES else found.category)
    assert found.category is not None


@pytest.mark.parametrize("value", [0, -1, 999999999999, -(2**63)])
def test_the_value_never_gets_into_the_message_however_wide_it_is(value: int) -> None:
    found = read(block("frobnicate: step 12", "CALC_ERR", value=value))
    assert found is not None
    assert (found.message, found.value) == ("frobnicate: step 12", value)


def test_the_line_of_an_input_error_and_its_dots_are_no_message(tmp_path: Path) -> None:
    text = block("frobnicate: what is a quux", "INPUT_ERR").replace(
        f"{RULE}\n{RULE}\n", f"{RULE}\n input error at line   18: illegal character\n quux 12\n ......*\n{RULE}\n", 1
    )
    found = read(text)
    assert found is not None
    assert found.message == "frobnicate: what is a quux"


@pytest.mark.parametrize(
    "line",
    [f"{RULE} frobnicate: quux is odd{911:20d}", f" frobnicate: quux is odd{911:20d} frobnicate: quux is odd{911:20d}"],
)
def test_a_message_is_found_on_a_line_that_ranks_share(line: str) -> None:
    found = read(
        block("frobnicate: quux is odd", "GEOM_ERR", 911).replace(f" frobnicate: quux is odd{911:20d}", line, 1)
    )
    assert found is not None
    assert (found.message, found.value) == ("frobnicate: quux is odd", 911)


def test_a_line_in_an_included_file_is_looked_for_there(tmp_path: Path) -> None:
    text = block("frobnicate: what is a quux", "INPUT_ERR").replace(
        f"{RULE}\n{RULE}\n", f"{RULE}\n Include file stack \n     1  more.nw\n{RULE}\n", 1
    )
    got = judged(text, tmp_path)
    assert got.evidence is not None
    assert (got.evidence.input_file, got.evidence.input_line) == ("input/more.nw", 18)


@pytest.mark.parametrize("seed", range(25))
def test_ranks_that_abort_together_are_read_as_one(seed: int, tmp_path: Path) -> None:
    """Their lines in each other's way, each rank's in order; only the first rank knows the input line."""
    dice = random.Random(seed)
    mine = block("frobnicate: no ao basis", "BASIS_ERR", wrapper="").split("\n")
    other = block("frobnicate: no ao basis", "BASIS_ERR", line=(0, ""), wrapper="").split("\n")[2:]
    ranks, mixed = [mine, other, list(other)], []
    while any(ranks):
        mixed.append(dice.choice([rank for rank in ranks if rank]).pop(0))
    got = judged("\n".join(mixed), tmp_path)
    assert (got.code, got.failure_class) == ("basis_not_found", "permanent"), "\n".join(mixed)


@pytest.mark.parametrize(
    "wrapped",
    [
        "[0] ARMCI Error: 0:frobnicate: quux is not implemented:",
        "[0] Received an Error in Communication: (-1) frobnicate: quux is not implemented",
        "0:0:frobnicate: quux is not implemented:: 0",
    ],
)
def test_a_log_that_holds_the_launchers_words_alone_still_reports_the_abort(wrapped: str, tmp_path: Path) -> None:
    got = judged(f"          Start\n{wrapped}\n", tmp_path)
    assert (got.code, got.failure_class) == ("not_implemented", "permanent")
    assert got.evidence is not None
    assert got.evidence.text == wrapped


@pytest.mark.parametrize("kept", range(4, 12))
def test_a_block_that_was_cut_is_judged_by_its_message(kept: int, tmp_path: Path) -> None:
    text = "\n".join(block("frobnicate: quux is not implemented", "CAPMIS_ERR", wrapper="").split("\n")[:kept])
    got = judged(text + "\n[0] ARMCI Error: 0:frobnicate: quux is not implemented:\n", tmp_path)
    assert (got.code, got.failure_class) == ("not_implemented", "permanent")


@pytest.mark.parametrize(
    "aftermath",
    [
        "mpirun noticed that process rank 1 with PID 0 on node n exited on signal 9 (Killed).",
        "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   EXIT CODE: 9\n"
        "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)",
        "mpirun noticed that process rank 1 with PID 0 on node n exited on signal 6 (Aborted).",
        "Program received signal SIGABRT: Process abort signal.",
        "mpirun noticed that process rank 1 with PID 0 on node n exited on signal 15 (Terminated).",
    ],
)
@pytest.mark.parametrize("exit", [Exit(255), Exit(9), Exit(137), Exit(143), Exit(134), Exit(None, 6)], ids=str)
def test_how_the_other_ranks_were_ended_is_never_the_cause_of_an_abort(
    aftermath: str, exit: Exit, tmp_path: Path
) -> None:
    got = judged(block("frobnicate: what is a quux", "INPUT_ERR") + aftermath + "\n", tmp_path, exit)
    assert (got.code, got.failure_class) == ("input_error", "permanent")


@pytest.mark.parametrize("status", [1, 4, 124, 126, 127, 130, 132, 134, 135, 136, 137, 139, 143, 152, 153])
def test_the_exit_status_of_an_abort_is_its_value_and_no_signal(status: int, tmp_path: Path) -> None:
    """911, NWChem's favourite, comes out as 143, which elsewhere is SIGTERM."""
    got = judged(block("frobnicate: what is a quux", "INPUT_ERR", value=status + 768), tmp_path, Exit(status))
    assert (got.code, got.failure_class) == ("input_error", "permanent")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("0:0:Segmentation Violation error, status=:: 11", "crashed"),
        ("[0] Received an Error in Communication: (11) 0:Segmentation Violation error, status=", "crashed"),
        ("1:1:Terminate signal was sent, status=:: 15", "terminated"),
        ("0:0:Interrupt signal was sent, status=:: 2", "interrupted"),
        ("0:0:Bus error, status=:: 7", "bus_error"),
        ("0:0:Illegal Instruction error, status=:: 4", "illegal_instruction"),
    ],
)
def test_a_signal_that_a_rank_mentions_is_no_abort(said: str, code: str, tmp_path: Path) -> None:
    got = judged(
        f"          Start\n{said}\nLast System Error Message from Task 0:: Inappropriate ioctl\n", tmp_path, Exit(1)
    )
    assert got.code == code


def test_a_time_of_day_is_no_abort() -> None:
    assert read("started at\n10:22:33: 5\n 12:00:01 wall: 7\n") is None


def test_ranks_that_stay_behind_an_abort_are_no_hang(tmp_path: Path) -> None:
    got = judged(block("frobnicate: what is a quux", "INPUT_ERR"), tmp_path, Exit(143, stop_reason="hung"))
    assert (got.state, got.code, got.failure_class) == ("stopped", "input_error", "permanent")


def test_a_rank_that_was_killed_silently_is_still_killed(tmp_path: Path) -> None:
    text = "          Start\nmpirun noticed that process rank 1 with PID 0 on node n exited on signal 9 (Killed).\n"
    assert judged(text, tmp_path, Exit(137)).code == "killed"
    said = block("frobnicate: g_quux", "GA_ERR") + "exited on signal 9 (Killed).\n"
    assert judged(said, tmp_path, Exit(137, oom_kills=1)).code == "oom_killed"


@given(
    message=st.text(max_size=120),
    category=st.sampled_from([*sorted(SENTENCES), "MA_ERR", "FMM_ERR", "?"]),
    value=st.integers(-(2**63), 2**63 - 1),
    wrapper=st.sampled_from(sorted(WRAPPERS)),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_message_breaks_the_reading_nor_makes_an_abort_transient(
    message: str, category: str, value: int, wrapper: str
) -> None:
    text = block(message, category, value, wrapper=WRAPPERS[wrapper].replace("{message}", "x"))
    found = read(text)
    for abort in (found, Abort(message, Evidence(message))):
        if abort is not None:
            told = errquit.finding(abort)
            assert told.failure_class != "transient"
            assert told.code not in ("unknown", "")
            assert told.remedy


@given(st.binary(max_size=2000))
def test_bytes_that_are_no_log_are_read_without_harm(noise: bytes) -> None:
    text = noise.decode("utf-8", "replace")
    for some in (text, text.replace("a", "current input line :\n"), f"{text}\n{RULE}\n  current input line : \n{text}"):
        read(some)


def test_the_table_of_families_is_whole() -> None:
    assert set(errquit.FAMILIES) == {*get_args(errquit.Category), "untold"}
    for order in errquit.FAMILIES.values():
        assert all(family.says is not None for family in order[:-1])


@pytest.mark.parametrize(
    "changed",
    [('class = "resource"', 'class = "transient"'), ('disk = ["write"', 'disk = ["quux"')],
    ids=["transient", "unknown-family"],
)
def test_a_table_that_is_wrong_is_refused(changed: tuple[str, str], tmp_path: Path) -> None:
    source = Path(errquit.__file__).with_suffix(".toml").read_text()
    assert changed[0] in source
    path = tmp_path / "errquit.toml"
    path.write_text(source.replace(*changed))
    with pytest.raises(ValueError, match=r"transient|quux"):
        abort_families.load(path)


@pytest.mark.parametrize(
    ("said", "code", "failure_class"),
    [
        ("md_rtdbin: rtdb_get failed    0", "rtdb_failed", "permanent"),
        ("pre_mkfrg failed 9999", "aborted", "permanent"),
        ("Error opening command file    0", "io_failed", "resource"),
        ("Memory allocation failed  ****", "memory_exhausted", "resource"),
    ],
)
@pytest.mark.parametrize("behind", [OPEN_MPI_4, OPEN_MPI_5, "[0] ARMCI Error: 0::\n", ""])
def test_a_box_of_stars_is_an_abort_too(said: str, code: str, failure_class: str, behind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f" Created fragment\n\n **********\n *   0: {said}\n **********\n{behind}")
    outcome = NWChem().interpret(step("nwchem", "deck", deck="in.nw"), tmp_path, log, Exit(returncode=255))
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", code, failure_class)
    assert outcome.evidence is not None
    assert said.split()[0] in outcome.evidence.text


def test_a_row_of_stars_alone_is_no_abort() -> None:
    reader = AbortReader("log")
    for number, line in enumerate([" **********", " * a note", " *   0: no box", " *** 1: none"]):
        reader.feed(line, number)
    assert reader.found is None


# Messages of 7.0.2 with the line that it printed as the current one: refused by a task, or for that line.
BY_A_TASK = (
    (" bq DFT atom with no atom type", "task dft property", True),
    ("dft_densm:fon nmo_fon <1", "task dft energy", True),
    ("mp2_grad: unknown SCFTYPE", "TASK mp2 energy", True),
    ("prop_input: error in input file", "  frequency 0.0773178", False),
    ("dft_input: dftmp2 direct disabled", "dftmp2 direct", False),
    ("task_energy: unknown theory", "task dtf energy", False),
)


@pytest.mark.parametrize(("message", "line", "by_a_task"), BY_A_TASK, ids=[row[0] for row in BY_A_TASK])
def test_a_setting_that_a_task_refuses_is_not_looked_for_in_its_line(
    message: str, line: str, by_a_task: bool, tmp_path: Path
) -> None:
    got = judged(block(message, "INPUT_ERR", line=(14, line)), tmp_path)
    assert (got.code, got.failure_class) == ("input_error", "permanent")
    assert ("that the message names" in (got.remedy or "")) == by_a_task
    assert ("current input line" in (got.remedy or "")) != by_a_task
