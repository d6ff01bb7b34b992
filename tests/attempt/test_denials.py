"""From what an engine printed to the outcome `confined`: only what the policy refuses, and only where it held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qmrunner.attempt import denials
from qmrunner.engines.input_check import Finding
from qmrunner.guardian.landlock import Policy
from qmrunner.model.jobs import Evidence, Outcome

FAILED = Outcome("failed", "unknown", failure_class="transient", evidence=Evidence("it stopped", "a.log", 3))


@pytest.fixture
def policy(tmp_path: Path) -> dict[str, object]:
    work = tmp_path / "work"
    work.mkdir()
    allowed = {"read": ("/usr/lib", "/usr/share"), "execute": ("/usr/bin/xtb",), "devices": ("/dev/null",)}
    return Policy(write=(str(work),), **allowed)._asdict()


def explained(text: str, policy: dict[str, object] | None, tmp_path: Path, outcome: Outcome = FAILED) -> Outcome:
    log = tmp_path / "a.1.log"
    log.write_text(text)
    return denials.explain(outcome, log, policy, ())


@pytest.mark.parametrize(
    "line",
    [
        "At line 12 of file x.F\nFortran runtime error: Cannot open file '/root/secret': Permission denied",
        "forrtl: severe (9): permission to access file denied, unit 7, file /etc/shadow: Permission denied",
        "sh: 1: /usr/bin/id: Permission denied",
        "sh: 1: id: Permission denied",
        "bash: line 1: id: Permission denied",
        "cannot write ../exit.json: Operation not permitted",
        "open ~/.ssh/id_rsa: permission denied",
        "error while loading shared libraries: /opt/x/libfoo.so: cannot open shared object file: Permission denied",
    ],
)
def test_a_refused_path_or_program_makes_a_failure_confined(
    line: str, policy: dict[str, object], tmp_path: Path
) -> None:
    got = explained(f"before\n{line}\nafter\n", policy, tmp_path)
    assert (got.state, got.code, got.failure_class) == ("failed", "confined", "permanent")
    assert got.evidence is not None
    assert got.evidence.text in line
    assert got.evidence.line is not None
    assert "--unconfined" in (got.remedy or "")


@pytest.mark.parametrize(
    "line",
    [
        "Cannot open file 'WORK/a/b': Permission denied",  # its own folder: not the kernel's doing
        "Cannot open file './a': Permission denied",
        "cannot write /dev/null: Permission denied",
        "cannot read /usr/share/nwchem/x: Permission denied",
        "nothing here was refused by anything",
        "permission denied",
    ],
)
def test_other_failures_stay_what_they_are(line: str, policy: dict[str, object], tmp_path: Path) -> None:
    assert explained(line.replace("WORK", str(tmp_path / "work")), policy, tmp_path) is FAILED


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("WORK/a/b", "unknown"),
        ("WORK", "unknown"),
        ("WORK/../secret", "confined"),
        ("WORK2/a", "confined"),
        ("WORK-in/a", "confined"),
        ("/root/secret", "confined"),
    ],
)
@pytest.mark.parametrize("folder", ["plain", "two words", "Müller's ß", "a+b (1) [x]"])
def test_a_folder_of_any_name_is_not_taken_for_its_neighbours(
    named: str, code: str, folder: str, tmp_path: Path
) -> None:
    work = tmp_path / folder / "work"
    work.mkdir(parents=True)
    policy = Policy(write=(str(work),), read=("/usr/lib",), execute=(), devices=())._asdict()
    line = f"Cannot open file '{named.replace('WORK', str(work))}': Permission denied"
    assert explained(line, policy, tmp_path).code == code


def test_without_the_kernels_layer_nothing_is_confined(tmp_path: Path) -> None:
    assert explained("Cannot open file '/root/secret': Permission denied", None, tmp_path) is FAILED


def test_a_success_stays_one(policy: dict[str, object], tmp_path: Path) -> None:
    done = Outcome("succeeded", "ok")
    assert explained("Cannot open file '/root/secret': Permission denied", policy, tmp_path, done) is done


def test_where_the_engine_names_nothing_the_check_names_the_line(policy: dict[str, object], tmp_path: Path) -> None:
    log = tmp_path / "a.1.log"
    log.write_text("[0] ARMCI Error: 0:shell failed:\n")
    refused = Finding("a.nw", 9, 'task shell "id"', "runs a command", "leave this task out")
    got = denials.explain(replace(FAILED, evidence=Evidence("shell failed")), log, policy, [refused])
    assert got.code == "confined"
    assert got.evidence == Evidence('a.nw line 9: task shell "id" (runs a command): shell failed', "a.nw", 9)


def test_a_log_that_is_no_file_is_no_evidence(policy: dict[str, object], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.symlink_to("/etc/hostname")
    assert denials.explain(FAILED, log, policy, ()) is FAILED
