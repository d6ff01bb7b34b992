"""Failure signatures: data that is checked when loaded, matched in order, in linear time."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from qmrunner.engines import signatures
from qmrunner.engines.signatures import Catalogue, load
from qmrunner.model.jobs import Exit

ENTRY = '[[signature]]\ncode = "{code}"\nclass = "method"\nremedy = "r"\nsource = "s"\n{rest}\n'
CATALOGUES = sorted(Path(signatures.__file__).parent.rglob("signatures.toml"))


def catalogue(tmp_path: Path, *entries: str, head: str = "") -> Catalogue:
    file = tmp_path / "signatures.toml"
    file.write_text(head + "".join(entries))
    return load(file)


def entry(code: str, rest: str) -> str:
    return ENTRY.format(code=code, rest=rest)


def logged(tmp_path: Path, text: str | bytes) -> Path:
    log = tmp_path / "run.log"
    log.write_bytes(text if isinstance(text, bytes) else text.encode())
    return log


@pytest.mark.parametrize("file", [signatures.COMMON, *CATALOGUES], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_catalogue_loads_and_every_remedy_is_a_sentence_for_a_person(file: Path) -> None:
    for signature in load(file).signatures:
        assert signature.remedy.endswith((".", ")")), signature.code
        assert len(signature.remedy) > 20, signature.code


@pytest.mark.parametrize(
    "bad",
    [
        'code = "a"\nclass = "method"\nremedy = "r"\nsource = "s"',
        'code = "a"\nclass = "weird"\nremedy = "r"\nsource = "s"\npattern = ["abc"]',
        'code = "a"\nclass = "method"\nremedy = "r"\npattern = ["abc"]',
        'code = "a"\nclass = "method"\nremedy = "r"\nsource = "s"\npattern = ["abc|def"]',
        'code = "a"\nclass = "method"\nremedy = "r"\nsource = "s"\npatern = ["abc"]',
    ],
    ids=["nothing to match", "unknown class", "no source", "top-level alternative", "misspelt key"],
)
def test_a_malformed_signature_is_refused_when_loaded(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"signatures\.toml: signature 1"):
        catalogue(tmp_path, f"[[signature]]\n{bad}\n")


def test_the_first_signature_in_the_file_wins_wherever_its_line_stands(tmp_path: Path) -> None:
    rules = catalogue(tmp_path, entry("first", "pattern = ['beta']"), entry("second", "pattern = ['alpha']"))
    finding = rules.classify(logged(tmp_path, "alpha\n beta here\n"), Exit(1))
    assert finding is not None
    assert (finding.code, finding.evidence.text, finding.evidence.line) == ("first", " beta here", 2)
    assert finding.evidence.file == "run.log"


def test_generic_signatures_count_only_when_nothing_specific_matched(tmp_path: Path) -> None:
    rules = catalogue(
        tmp_path, entry("wrapper", "pattern = ['task failed']\ngeneric = true"), entry("inner", "pattern = ['no heap']")
    )
    both = rules.classify(logged(tmp_path, "no heap\ntask failed\n"), Exit(1))
    alone = rules.classify(logged(tmp_path, "task failed\n"), Exit(1))
    assert (both and both.code, alone and alone.code) == ("inner", "wrapper")


def test_context_lines_can_be_demanded_or_forbidden(tmp_path: Path) -> None:
    rules = catalogue(
        tmp_path,
        entry("theirs", "pattern = ['no file']\nalso = ['from environment']"),
        entry("ours", "pattern = ['no file']\nunless = ['never mind']"),
    )
    codes = []
    for text in ("from environment\nno file\n", "no file\n", "no file\nnever mind\n"):
        finding = rules.classify(logged(tmp_path, text), Exit(1))
        codes.append(finding and finding.code)
    assert codes == ["theirs", "ours", None]


def test_an_out_of_memory_kill_is_distinguished_from_any_other_by_the_kernels_count(tmp_path: Path) -> None:
    log = logged(tmp_path, "mpirun noticed that process rank 1 exited on signal 9 (Killed).\n")
    killed, oom = load().classify(log, Exit(137)), load().classify(log, Exit(137, oom_kills=1))
    assert (killed and killed.code, oom and oom.code) == ("killed", "oom_killed")
    silent = load().classify(logged(tmp_path, "iteration 4\n"), Exit(None, 9, oom_kills=2))
    assert silent is not None
    assert silent.code == "oom_killed"
    assert silent.evidence.text == "ended by SIGKILL; last line: iteration 4"


@pytest.mark.parametrize(
    ("exit", "code"),
    [
        (Exit(None, 9), "killed"),
        (Exit(137), "killed"),
        (Exit(None, 15), "terminated"),
        (Exit(None, 11), "crashed"),
        (Exit(132), "illegal_instruction"),
        (Exit(127), "engine_missing"),
        (Exit(124), "timed_out"),
        (Exit(3), None),
        (Exit(0), None),
    ],
)
def test_the_exit_speaks_only_when_no_text_does(exit: Exit, code: str | None, tmp_path: Path) -> None:
    finding = load().classify(logged(tmp_path, ""), exit)
    assert (finding and finding.code) == code
    louder = load().classify(logged(tmp_path, "mpirun has detected an attempt to run as root.\n"), exit)
    assert louder is not None
    assert louder.code == "root_refused"


def test_carriage_returns_broken_bytes_and_a_missing_last_newline_do_not_hide_a_line(tmp_path: Path) -> None:
    rules = catalogue(tmp_path, entry("full", "pattern = ['^disk full$']"))
    for text in (b"a\r\ndisk full\r\nb\r\n", b"\xff\xfe\x00\n\ndisk full", b"a\ndisk full   \n"):
        finding = rules.classify(logged(tmp_path, text), Exit(1))
        assert finding is not None
        assert finding.evidence.text == "disk full"


def test_text_that_stderr_cut_into_a_line_is_still_found(tmp_path: Path) -> None:
    text = " d= 0,ls=0.0,diis  3 -154.[HOST:1] mpirun has detected an attempt to run as root.\n99 -2.9D-03\n"
    finding = load().classify(logged(tmp_path, text), Exit(1))
    assert finding is not None
    assert finding.code == "root_refused"


def test_an_unknown_failure_shows_the_last_line_that_means_anything(tmp_path: Path) -> None:
    rules = catalogue(tmp_path, head="noise = ['^see the manual']\n")
    log = logged(tmp_path, "start\nsomething odd happened\n-----------\nsee the manual\n\n  \n")
    finding = rules.unknown(log, Exit(77))
    assert (finding.code, finding.evidence.text, finding.evidence.line) == ("unknown", "something odd happened", 2)
    assert rules.unknown(logged(tmp_path, "\n"), Exit(77)).evidence.text == "exit status 77"


def test_a_missing_log_counts_as_empty(tmp_path: Path) -> None:
    assert load().classify(tmp_path / "none.log", Exit(1)) is None
    assert load().unknown(tmp_path / "none.log", Exit(1)).evidence.text == "exit status 1"


@pytest.mark.parametrize(
    ("regex", "literal"),
    [
        (r"no such file", "no such file"),
        (r"signal 9 \(Killed\)", "signal 9 (Killed)"),
        (r"(orte|prte)_init failed", "_init failed"),
        (r"[Ee]xec format", "xec format"),
        (r"ranks? left", " left"),
        (r"^ab+cd$", "ab"),
        (r"x{2,3}yz", "yz"),
        (r"\d+ bytes\b", " bytes"),
        (r"one|two", ""),
    ],
)
def test_the_literal_sought_first_is_part_of_every_match(regex: str, literal: str) -> None:
    assert signatures._longest_literal(regex) == literal


@pytest.mark.timeout(400)  # tracemalloc follows every line
@pytest.mark.slow
def test_a_hundred_megabytes_are_searched_in_seconds_with_constant_memory(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    line = b" d= 0,ls=0.0,diis     4   -155.0301650703 -2.90D-03  4.10D-04  8.95D-04     4.6\n"
    with log.open("wb") as stream:
        for _ in range(100):
            stream.write(line * (2**20 // len(line)))
        stream.write(b"      Calculation failed to converge\n")
    rules = load(*CATALOGUES)
    tracemalloc.start()
    began = time.process_time()
    finding = rules.classify(log, Exit(255))
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    log.unlink()
    assert finding is not None
    assert finding.code == "scf_not_converged"
    assert peak < 16 * 2**20
    assert spent < 60


def test_a_log_of_one_endless_line_is_searched_without_keeping_it(tmp_path: Path) -> None:
    log = logged(tmp_path, b"x" * (5 << 20) + b"\nmpirun has detected an attempt to run as root.\n")
    finding = load().classify(log, Exit(1))
    assert finding is not None
    assert finding.code == "root_refused"
    assert finding.evidence.line == 2
