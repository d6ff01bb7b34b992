"""What the commands do and say without a daemon: submit, look, move, and their exit statuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qmrunner import __version__
from tests.support import ROOT, Home

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
COMMANDS = [
    "run", "health", "status", "logs", "result", "why", "cancel", "retry", "hold", "release",
    "submit", "submit nmr", "submit nwchem", "submit xtb", "submit crest", "db", "db upgrade", "db check",
]  # fmt: skip


@pytest.fixture
def place(home: Home) -> Home:
    (home.path.parent / "water.xyz").write_text(WATER)
    true = shutil.which("true")
    assert true is not None
    home.extra["QMRUNNER_XTB"] = true
    return home


def submit(home: Home, *more: str) -> str:
    job: str = home.json("submit", "xtb", "water.xyz", *more)["id"]
    return job


def help_of(words: list[str]) -> str:
    from typer.testing import CliRunner

    from qmrunner.cli.program import program

    ended = CliRunner().invoke(program(), [*words, "--help"])
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_describes_what_a_command_is_for(command: str) -> None:
    text = help_of(command.split())
    assert "Usage:" in text
    assert len(text.splitlines()) > 4


def test_every_command_there_is_has_help_and_a_sentence_about_it() -> None:
    import typer

    from qmrunner.cli.program import program

    def walk(group: object, path: list[str]) -> None:
        for name, command in getattr(group, "commands", {}).items():
            assert command.help, f"{' '.join([*path, name])} says nothing about itself"
            assert "Usage:" in help_of([*path, name])
            walk(command, [*path, name])

    root = typer.main.get_command(program())
    walk(root, [])
    assert {command.split()[0] for command in COMMANDS} <= set(root.commands)  # type: ignore[attr-defined]


def test_the_installed_program_is_the_same_as_the_module() -> None:
    script = Path(sys.executable).with_name("qmrunner")
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    ended = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0
    assert "qmrunner submit" in ended.stdout


def test_the_program_reports_its_version(place: Home) -> None:
    assert place.run("--version").stdout == f"qmrunner {__version__}\n"
    assert not place.path.exists()


def test_a_submitted_job_is_stored_with_its_input_before_its_id_is_reported(place: Home) -> None:
    job = submit(place, "--name", "mine", "--priority", "3")
    assert (place.path / "jobs" / job / "input" / "water.xyz").read_text() == WATER
    seen = place.json("status", job)["job"]
    assert (seen["id"], seen["kind"], seen["state"], seen["name"]) == (job, "xtb", "queued", "mine")
    assert [(step["id"], step["state"], step["attempt"]) for step in seen["steps"]] == [("xtb", "ready", 0)]
    listed = place.json("status")
    assert [row["id"] for row in listed["jobs"]] == [job]
    assert listed["workers"] == []
    assert listed["queue"]["jobs"] == {"queued": 1}


def test_the_id_alone_goes_to_stdout_and_the_missing_daemon_to_stderr(place: Home) -> None:
    ended = place.run("submit", "xtb", "water.xyz")
    assert ended.returncode == 0
    assert place.job(ended.stdout.strip())["state"] == "queued"
    assert "start `qmrunner run`" in ended.stderr


def test_the_same_key_gives_the_same_job_and_no_second_one(place: Home) -> None:
    first = submit(place, "--key", "k1")
    assert submit(place, "--key", "k1") == first
    other = place.run("submit", "xtb", "water.xyz", "--key", "k1", "--name", "another")
    assert (other.returncode, "key_in_use" in other.stderr) == (2, True)
    assert submit(place, "--key", "k2") != first
    assert len(list((place.path / "jobs").iterdir())) == 2


def test_the_same_key_gives_the_same_job_even_to_requests_at_the_same_time(place: Home) -> None:
    submit(place)
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: place.run("submit", "xtb", "water.xyz", "--key", "k"), range(4)))
    assert [one.returncode for one in ended] == [0] * 4, ended[-1]
    assert len({one.stdout for one in ended}) == 1
    assert len(list((place.path / "jobs").iterdir())) == 2


def test_an_unknown_job_ends_with_3_and_states_how_to_find_the_known(place: Home) -> None:
    assert place.run("db", "upgrade").returncode == 0
    for command in ("status", "logs", "result", "why", "cancel", "retry", "hold", "release"):
        ended = place.run(command, "nosuchjob")
        assert (ended.returncode, ended.stdout) == (3, "")
        assert ended.stderr.startswith("qmrunner: job_unknown: there is no job 'nosuchjob'")
        assert "qmrunner status" in ended.stderr


@pytest.mark.parametrize("command", [["status"], ["cancel", "x"], ["db", "check"]], ids=" ".join)
def test_without_a_store_looking_ends_with_4_and_makes_none(place: Home, command: list[str]) -> None:
    ended = place.run(*command)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "store_missing" in ended.stderr
    assert not place.path.exists()


def test_the_moves_of_people_print_their_result(place: Home) -> None:
    job = submit(place)
    for verb, state in [("hold", "held"), ("release", "queued"), ("cancel", "cancelled"), ("retry", "queued")]:
        assert place.json(verb, job)["state"] == state
    assert place.job(job)["state"] == "queued"


def test_a_move_that_does_not_fit_ends_with_2_and_states_where_the_job_stands(place: Home) -> None:
    job = submit(place)
    ended = place.run("retry", job)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"qmrunner: wrong_state: job {job} is queued")
    assert f"qmrunner status {job}" in ended.stderr


def test_a_result_that_is_not_there_yet_ends_with_4_and_why_reports_what_is_waited_for(place: Home) -> None:
    job = submit(place)
    ended = place.run("result", job, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (4, "no_result")
    why = place.json("why", job)
    assert (why["state"], why["code"], why["attempts"]) == ("queued", None, [])
    assert "waits for a worker" in why["summary"]
    assert why["next"]


def test_logs_of_a_job_that_has_not_run_are_empty(place: Home) -> None:
    ended = place.run("logs", submit(place))
    assert (ended.returncode, ended.stdout) == (0, "")


def test_health_without_a_daemon_ends_with_4_and_the_reason(place: Home) -> None:
    ended = place.run("health")
    assert ended.returncode == 4
    assert f"no daemon runs on {place.path}" in ended.stdout
    ended = place.run("health", "--json")
    assert ended.returncode == 4
    assert json.loads(ended.stdout)["healthy"] is False
    assert not place.path.exists()


def test_db_upgrade_makes_the_store_and_db_check_states_that_it_can_be_used(place: Home) -> None:
    from qmrunner.store import schema

    first, second = place.run("db", "upgrade"), place.run("db", "upgrade")
    assert (first.returncode, second.returncode) == (0, 0)
    assert f"empty -> {schema.HEAD}" in first.stdout
    assert f"{schema.HEAD} -> {schema.HEAD}" in second.stdout
    checked = place.json("db", "check")
    assert (checked["state"], checked["revision"], checked["head"]) == ("current", schema.HEAD, schema.HEAD)


@pytest.mark.parametrize(
    "words", [["bogus"], ["submit", "nmr"], ["status", "--bogus"], ["submit", "xtb", "a", "--priority", "x"]]
)
def test_a_command_line_that_is_not_understood_ends_with_2(place: Home, words: list[str]) -> None:
    ended = place.run(*words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
    assert not place.path.exists()


@pytest.mark.parametrize(
    "encoding",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["ascii", "latin-1", "C"],
)
def test_what_a_terminal_cannot_show_is_shown_escaped(place: Home, encoding: dict[str, str]) -> None:
    job = submit(place, "--name", "α→")
    for words in (["status"], ["status", job], ["why", job], ["cancel", job], ["result", job], ["logs", job]):
        ended = subprocess.run(
            [sys.executable, "-m", "qmrunner", *words],
            cwd=ROOT, env=place.environment(**encoding), capture_output=True, timeout=30,
        )  # fmt: skip
        assert b"Traceback" not in ended.stderr, ended
        if encoding.get("LC_ALL") == "C" and not str(place.path).isascii():
            assert b"bad_argument: QMRUNNER_" in ended.stderr
        elif words == ["status"]:
            assert rb"\u03b1\u2192" in ended.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "xtb", "water.xyz", "--name", "?"], ["submit", "xtb", "?.xyz"], ["status", "?"], ["why", "?"],
        ["submit", "nmr", "?"], ["result", "?", "--out", "?"], ["token", "add", "?"], ["?"], ["--?"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_argument_that_is_no_text_is_bad_input(place: Home, words: list[str]) -> None:
    ended = place.run(*(word.replace("?", "\udcff") for word in words))
    assert ended.returncode == 2, ended
    assert "bad_argument" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not place.path.exists()


def test_a_check_prints_the_cost_and_stores_nothing(home: Home) -> None:
    shown = home.run("submit", "nmr", "CC(O)C=CC", "--check")
    assert shown.returncode == 0, shown.stderr
    assert "C5H10O" in shown.stdout
    assert "core hours" in shown.stdout
    assert "warning: " in shown.stdout
    assert not home.path.exists()
    found = home.json("submit", "conformers", "CCCC", "--conformers", "rdkit", "--check", "--group", "g")
    assert (found["group"], found["formula"]) == ("g", "C4H10")
    refused = home.run("submit", "nmr", "C1CC", "--check")
    assert refused.returncode == 2
    assert "invalid_smiles" in refused.stderr
