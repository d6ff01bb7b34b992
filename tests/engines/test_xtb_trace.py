"""Fatal errors of xTB that no signature knows: the whole traceback is read, its innermost message is the evidence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmrunner.engines.xtb import trace
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import step

RULE = "#" * 72
OUTER = ("Single point calculation terminated", "xtb_quux_singlepoint: Quux method terminated")
# (innermost message, code, class): made up in xTB's style.
CASES = [
    ("xtb_quux_frob: Could not allocate the quux matrix", "memory_exhausted", "resource"),
    ("xtb_quux_frob: Quux is not implemented for periodic systems", "not_implemented", "permanent"),
    ("quux: SCC of the quux did not converge in 17 cycles", "scf_not_converged", "method"),
    ("xtb_quux_load: Parameterfile quux.txt has no quux", "parameter_missing", "operator"),
    ("quux: Unknown solvent 'quux'", "illegal_solvent", "permanent"),
    ("quux: number of electrons is odd", "charge_multiplicity", "permanent"),
    ("quux: Diagonalization of the quux failed", "aborted", "method"),
    ("quux: Could not relax the quux", "optimization_not_converged", "method"),
    ("quux: Unknown argument '--quux'", "input_error", "permanent"),
    ("quux: could not open file", "io_failed", "resource"),
    ("quux: two atoms of one kind", "geometry_bad", "permanent"),
    ("quux: frob", "aborted", "permanent"),
]


def traceback(*messages: str, behind: str = "") -> str:
    lines = [f"-{len(messages) - at}- {message}" for at, message in enumerate(messages)]
    return "\n".join(
        ["", RULE, "[ERROR] Program stopped due to fatal error", *lines, *([behind] if behind else []), RULE]
    )


def judged(text: str, tmp_path: Path, exit: Exit | None = None) -> Outcome:
    log = tmp_path / "step.1.log"
    log.write_text(text + "\nabnormal termination of xtb\nERROR STOP \n")
    return Xtb().interpret(step("xtb", "user", structure="a.xyz", args=[]), tmp_path, log, exit or Exit(1))


@pytest.mark.parametrize("exit", [Exit(1), Exit(128), Exit(134), Exit(None, 6)], ids=str)
@pytest.mark.parametrize(("message", "code", "failure_class"), CASES)
def test_an_unknown_fatal_error_is_judged_by_its_innermost_message(
    message: str, code: str, failure_class: str, exit: Exit, tmp_path: Path
) -> None:
    got = judged(traceback(*OUTER, message), tmp_path, exit)
    assert (got.state, got.code, got.failure_class) == ("failed", code, failure_class)
    assert got.evidence is not None
    assert (got.evidence.text, got.evidence.line) == (f"-1- {message}", 6)
    assert got.remedy


def test_outer_messages_help_where_the_innermost_explains_nothing(tmp_path: Path) -> None:
    got = judged(traceback("Geometry relaxation went wrong", "quux: frob"), tmp_path)
    assert got.code == "optimization_not_converged"
    assert got.evidence is not None
    assert got.evidence.text == "-1- quux: frob"


def test_a_known_message_further_out_keeps_its_code_and_gives_the_innermost_as_evidence(tmp_path: Path) -> None:
    got = judged(traceback("reading geometry input 'a.xyz' failed", "quux: frob"), tmp_path)
    assert got.code == "input_error"
    assert got.evidence is not None
    assert got.evidence.text == "-1- quux: frob"


def test_lines_that_show_the_place_in_the_input_end_no_traceback(tmp_path: Path) -> None:
    text = traceback("outer", "quux: frob").replace("-2- outer\n", "-2- outer\n --> a.xyz:1:1\n  |\n1 | 8\n")
    log = tmp_path / "a.log"
    log.write_text(text)
    found = trace.read(log)
    assert found is not None
    assert [message.text for message in found.messages] == ["-1- quux: frob", "-2- outer"]


def test_warnings_in_the_same_form_are_no_fatal_error(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(
        f"{RULE}\n[WARNING] Please study the warnings concerning your input carefully\n-1- quux: frob\n{RULE}\n"
    )
    assert trace.read(log) is None


def test_a_run_that_was_asked_to_stop_is_stopped_whatever_its_traceback(tmp_path: Path) -> None:
    got = judged("recieved SIGTERM, terminating\n" + traceback("quux: frob"), tmp_path)
    assert got.code == "terminated"


@given(messages=st.lists(st.text(max_size=80), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_traceback_is_transient_or_unknown(messages: list[str], tmp_path: Path) -> None:
    messages = [" ".join(message.split()) or "x" for message in messages]
    got = judged(traceback(*messages), tmp_path)
    # A message may speak of a signal or a launcher as signatures know it; such words are no traceback's own.
    assert got.code != "unknown"
