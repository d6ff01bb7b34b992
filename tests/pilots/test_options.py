"""Options of sbatch that users have in their settings, as words of a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from qmrunner.errors import UsageError
from qmrunner.slurm import batch, options


@pytest.mark.parametrize(
    ("given", "cores"),
    [
        ("--cpus-per-task=16", 16),
        ("--cpus-per-task=16 --time=1-0", 16),
        ("--cpus-per-task=16 --cpus-per-task=4", 4),
        ("--cpus-per-task=16 --cpus-per-task 8 --mem=2G", 8),
        ("--cpus-per-task=16 -c 2", 2),
        ("--cpus-per-task=16 -c2 --exclusive", 2),
        ("--constraint=c5", 1),
        ("--ntasks=1 --cpus-per-task=16 --ntasks=8 -c1", 8),
        ("-n4 -c 4", 16),
        ("--ntasks-per-node=8 --cpus-per-task=2", 16),
        ("--comment '-c 4' -c 2", 2),
        ("--cpus-per-task=many", 1),
        ("--cpus-per-task", 1),
        ("", 1),
    ],
)
def test_processors_are_those_of_all_tasks_and_the_last_option_counts(given: str, cores: int) -> None:
    assert options.cores(shlex.split(given)) == cores


@pytest.mark.parametrize(
    ("given", "exported"),
    [
        ("", "ALL"),
        ("--export=NONE", "ALL"),
        ("--export NIL", "ALL"),
        ("--export=ALL", "ALL"),
        ("--export=A,B=1", "ALL,A,B=1"),
        ("--export=ALL,B=1 --mem=1G", "ALL,B=1"),
        ("--export=A --export=NONE", "ALL"),
        ("--export-file=x", "ALL"),
    ],
)
def test_a_pilot_always_gets_the_settings(given: str, exported: str) -> None:
    assert options.exports(shlex.split(given)) == exported


@pytest.mark.parametrize(
    "given",
    ["--wrap='sleep 1'", "--array=1-4", "-a 1-4", "-a1-4", "--wait", "-W", "--test-only", "--clusters=all", "-M other",
     "-c1 : -c2"],
)  # fmt: skip
def test_an_option_with_which_no_pilot_works_is_refused_with_the_reason(given: str) -> None:
    with pytest.raises(UsageError, match="cannot be an option of pilots") as refused:
        options.check(["--mem=1G", *shlex.split(given), "--time=1-0"])
    assert refused.value.code == "sbatch_option"
    assert refused.value.remedy


@pytest.mark.parametrize(
    "given",
    ["--account=a", "-A a", "--mem=0 --exclusive", "-w n1", "--wait-all-nodes=1", "--mail-type=END", "--wckey=x",
     "--signal=B:USR1@120", "--no-requeue", "--nice=10", "-p all", "--begin=now+1hour", "-q long", "-C avx2"],
)  # fmt: skip
def test_options_of_sites_and_users_are_taken(given: str) -> None:
    options.check(shlex.split(given))


def test_settings_and_name_are_the_last_words_and_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """sbatch takes the last of two equal options, and replaces `%u` in names of files."""
    program = tmp_path / "sbatch"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{shlex.quote(str(tmp_path))}/words\necho "warning: x"; echo "7;cluster"\n'
    )
    program.chmod(0o755)
    given = ("--job-name=a b", "--export=NONE", "--comment=x y")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert batch.start("qm", Path("/s/50%user"), given, environment, 3) == "7"
    assert (tmp_path / "words").read_text().splitlines() == [
        "--parsable", "--output=/s/50%%user/qmrunner-%j.log", "--array=1-3", *given, "--export=ALL", "--job-name=qm",
        str(batch.SCRIPT),
    ]  # fmt: skip
