"""Nothing raw on a terminal: what strangers wrote is shown, and moves nothing there."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from qmrunner.cli.program import program
from qmrunner.store.session import Store
from tests import ready
from tests.model.test_visible import hidden
from tests.prefork import kind_of, preforked
from tests.sampling import share
from tests.support import ROOT, Daemon, Home

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
# ESC, C1, bidirectional, line separators, invisible ones, a line that looks like ours, and what rich would interpret.
NAME = (
    "\x1b]0;x\x07\x9b31m\u202e\u2066\u061c\u200f\u2028\u0085\u200b\U000e0041\n"
    "qmrunner: ok\r[bold]b[/] [link=x]y[/] :smile:"
)
SHOWN = (
    r"\x1b]0;x\x07\x9b31m\u202e\u2066\u061c\u200f\u2028\x85\u200b\U000e0041\n"
    r"qmrunner: ok\r[bold]b[/] [link=x]y[/] :smile:"
)
LINE = NAME.replace("\n", " ").encode() + b" \x9b\xff"
XTB = f"""#!{sys.executable}
import os, sys
if "--version" in sys.argv:
    print("   * xtb version 6.5.1 (stand-in)")
    sys.exit()
for _ in range(3):
    os.write(1, {LINE!r} + b"\\n")
os.write(2, {LINE!r} + b"\\nabnormal termination of xtb\\n")
sys.exit(1)
"""


@pytest.fixture
def place(home: Home) -> Home:
    folder = home.path.parent
    (folder / "water.xyz").write_text(WATER)
    (folder / "good.nw").write_text("geometry\n  He 0 0 0\nend\nbasis\n  * library 6-31g\nend\ntask scf\n")
    xtb = folder / "xtb"
    xtb.write_text(XTB)
    xtb.chmod(0o755)
    home.extra |= {"QMRUNNER_MAX_RETRIES": "0", "QMRUNNER_XTB": str(xtb)}
    home.extra |= dict.fromkeys(("QMRUNNER_NWCHEM", "QMRUNNER_CREST", "QMRUNNER_MPIRUN"), "true")
    return home


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def on_a_terminal(home: Home, *args: str) -> str:
    """What a command writes on a terminal that knows no colours."""
    ours, theirs = pty.openpty()
    variables = home.environment(PYTHONPATH=str(ROOT), TERM="dumb", NO_COLOR="1", COLUMNS="200")
    process = preforked(kind_of(args)).start(["-m", "qmrunner", *args], home.path.parent, variables, theirs, theirs)
    os.close(theirs)
    told, end = bytearray(), time.monotonic() + 30
    while time.monotonic() < end and select.select([ours], [], [], 1.0) is not None:
        try:
            if not (data := os.read(ours, 1 << 16)):
                break
        except OSError:  # the other side is closed
            break
        told += data
    os.close(ours)
    process.wait(10)
    return told.decode().replace("\r\n", "\n")


def test_every_command_writes_out_what_stands_in_names_engine_lines_and_evidence(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    running = daemon()
    ended = place.run("submit", "xtb", "water.xyz", "--name", NAME, "--key", NAME[:20], "--wait")
    assert (ended.returncode, hidden(ended.stdout + ended.stderr, "\n")) == (1, [])
    job = place.json("status")["jobs"][0]
    assert job["name"] == NAME
    shown = place.run("status", COLUMNS="1000").stdout
    assert hidden(shown, "\n") == []
    assert SHOWN in shown

    store = Store(f"sqlite:///{place.path}/store.db")
    with store.write() as connection:  # an engine's evidence as a signature may find it, and a worker's name
        evidence = json.dumps({"text": NAME, "file": NAME, "line": 3})
        connection.exec_driver_sql("UPDATE steps SET evidence = ?, remedy = ?", (evidence, NAME))
        connection.exec_driver_sql("UPDATE jobs SET summary = ?", (NAME,))
        connection.exec_driver_sql("UPDATE workers SET name = ?", (NAME,))
    store.close()
    for command in (
        ["status"],
        ["status", job["id"]],
        ["why", job["id"]],
        ["result", job["id"]],
        ["retry", "\x1b\u202e"],
    ):
        ended = place.run(*command)
        told = ended.stdout + ended.stderr
        assert hidden(told, "\n") == [], command
        assert "\nqmrunner: ok" not in told
        assert "\\x1b" in told
        assert hidden(on_a_terminal(place, *command), "\n") == [], command
        as_json = place.run(*command, "--json")
        assert as_json.stdout.isascii()
        assert hidden(as_json.stdout, "\n") == []
        assert any("\x1b" in text or "\\x1b" in text for text in texts(json.loads(as_json.stdout)))

    log = Path(place.json("why", job["id"])["attempts"][0]["log"]).read_bytes()
    assert log.count(LINE) == 4
    told = place.run("logs", job["id"]).stdout
    assert hidden(told, "\n") == []
    assert told.count(SHOWN.replace(r"\n", " ") + r" \x9b\xff") == 4
    variables = place.environment(PYTHONPATH=str(ROOT))
    raw = subprocess.run(
        [sys.executable, "-m", "qmrunner", "logs", job["id"], "--raw"], env=variables, capture_output=True
    )
    assert (raw.stdout, raw.stderr) == (log, b"")
    terminal = on_a_terminal(place, "logs", job["id"], "--raw")
    assert hidden(terminal, "\n") == []
    assert "redirect the output to a file or a pipe" in terminal

    running.stop()
    assert hidden(running.text(), "\n") == []
    assert r"\x9b31m\u202e" in running.text()
    for file in [*(place.path / "run").glob("*.err"), place.path / "run" / "events.jsonl"]:
        assert hidden(file.read_text(), "\n") == [], file


def test_a_file_name_with_control_characters_is_refused_on_one_line(place: Home) -> None:
    (place.path.parent / "a\x1b\u202e\nqmrunner: ok.xyz").write_text(WATER)
    for name in ("a\x1b\u202e\nqmrunner: ok.xyz", "none\x9b\nqmrunner: ok.xyz"):
        ended = place.run("submit", "xtb", name)
        assert (ended.returncode, ended.stdout, hidden(ended.stderr, "\n")) == (2, "", [])
        assert ended.stderr.count("\nqmrunner:") == 0


def test_settings_with_control_characters_are_reported_written_out(place: Home) -> None:
    for name in ("QMRUNNER_SLOTS", "QMRUNNER_LOG_LEVEL", "QMRUNNER_LABELS", "QMRUNNER_STORE_URL", "QMRUNNER_\x1b\nX"):
        for command in (["status"], ["doctor"], ["submit", "nmr", "CCO"]):
            ended = place.run(*command, **{name: "\x1b\u202e\u2028\nqmrunner: ok"})
            told = ended.stdout + ended.stderr
            assert ended.returncode in (2, 4)
            assert hidden(told, "\n") == []
            assert "\nqmrunner: ok" not in told


def test_in_a_locale_without_them_characters_are_written_out(place: Home) -> None:
    assert place.run("submit", "xtb", "water.xyz", "--name", "分子 ±", LC_ALL="C.UTF-8").returncode == 0
    variables = place.environment(PYTHONPATH=str(ROOT), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    ended = subprocess.run([sys.executable, "-m", "qmrunner", "status"], env=variables, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"\u5206\u5b50" in ended.stdout


# -- every option of every command ------------------------------------------------------------------------------------

PLAIN = {
    "source": "CCO",
    "deck": "good.nw",
    "structure": "water.xyz",
    "job": "nosuchjob",
    "name": "tok",
    "scope": "read",
    "shell": "bash",
    "file": "good.nw",
    "folder": "shared",
}
PLAIN |= dict.fromkeys(("to", "store"), "postgresql://u@127.0.0.1:1/x")
HOSTILE = {
    "half a surrogate pair": "a\udcff",
    "escape": "\x1b[2J\x07\x9b31m",
    "bidirectional and separators": "\u202e\u2066\u061c\u2028\u2029\u0085",
    "lines": "x\nqmrunner: ok\r\ty",
    "long": "x" * 100_000,
}
# A value is no end of these: they would continue.
ENDLESS = {("run", "until_idle"), ("serve", "port"), ("serve", "unix")}


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path, command


def lines_of(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, Callable[[str], list[str]]]]:
    """For each parameter that takes a text: its name, and the command line with a value for it."""
    needed = [one for one in command.params if isinstance(one, click.Argument) and (one.required or one.name == "job")]
    options = [one for one in command.params if isinstance(one, click.Option) and one.required]
    for target in command.params:
        if getattr(target, "is_flag", False) or (*path, target.name) in ENDLESS:
            continue

        def line(value: str, target: click.Parameter = target) -> list[str]:
            told = {one.name: PLAIN[str(one.name)] for one in [*needed, *options]} | {target.name: value}
            named: list[click.Parameter] = [
                *options,
                *([target] if isinstance(target, click.Option) and target not in options else []),
            ]
            words = [word for one in named for word in (one.opts[0], told[one.name])]
            behind = [target] if isinstance(target, click.Argument) and target not in needed else []
            return [*path, *words, "--", *(told[one.name] for one in [*needed, *behind])]

        yield str(target.name), line


EVERY = [
    (f"{' '.join(path)} {name}", line)
    for path, command in leaves(typer.main.get_command(program()))
    for name, line in lines_of(path, command)
]
UNEXPLAINED = [
    f"{' '.join(path)} {one.name}"
    for path, command in leaves(typer.main.get_command(program()))
    for one in command.params
    if one.name != "help" and not getattr(one, "hidden", False) and not getattr(one, "help", None)
]
# One value for each option, and the next one at the next commit.
TRIED = [
    pytest.param(line, what, id=f"{name}: {what}")
    for at, (name, line) in enumerate(EVERY)
    for what in share(HOSTILE, len(HOSTILE), begin=at)
]


def test_every_option_and_argument_is_explained() -> None:
    """Typer lost the texts of arguments with a newer version of the library below it."""
    assert UNEXPLAINED == []


@pytest.mark.parametrize(("line", "what"), TRIED)
def test_no_text_given_to_any_option_ends_in_a_traceback_or_raw_on_the_terminal(
    place: Home, line: Callable[[str], list[str]], what: str
) -> None:
    ready.home(place.path)
    ended = place.run(*line(HOSTILE[what]), QMRUNNER_API_PORT="0")
    told = ended.stdout + ended.stderr
    assert "Traceback" not in told
    assert "internal_error" not in told
    assert hidden(told, "\n") == []
    assert "\nqmrunner: ok" not in told
    assert len(told) < 20_000
    assert ended.returncode in ((2,) if what == "half a surrogate pair" else (0, 2, 3, 4)), ended


def test_the_walk_meets_the_options_that_take_names() -> None:
    met = {name for name, _ in EVERY}
    assert {
        "submit xtb name",
        "submit nmr key",
        "submit nwchem with_files",
        "db copy to",
        "logs step",
        "token add name",
    } <= met


def test_names_and_keys_have_one_rule_for_the_command_line_and_the_api(place: Home) -> None:
    from qmrunner.errors import UsageError
    from qmrunner.model.jobs import Submission
    from qmrunner.submission.job_kinds import with_options
    from qmrunner.submission.request import JobOptions

    def refusal(**given: Any) -> str:
        with pytest.raises(UsageError) as caught:
            with_options(Submission("xtb", {}, {}), JobOptions(**given))
        return caught.value.code

    assert refusal(name="x" * 201) == refusal(name="\0") == refusal(name="\ud800") == "name_invalid"
    assert refusal(key="x" * 201) == refusal(key="\0") == refusal(key="") == "key_invalid"
    fine = JobOptions(name="Å" * 200, key="k" * 200)
    assert with_options(Submission("xtb", {}, {}), fine).name == "Å" * 200
