"""Which interpreter runs an application's command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qmrunner.apps import command
from qmrunner.errors import UsageError


def script(folder: Path, text: str) -> str:
    path = folder / "consumer"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_interpreter_of_a_script_is_in_its_first_line(tmp_path: Path) -> None:
    path = script(tmp_path, f"#!{sys.executable} -E\n")
    parsed = command.parse([path, "mod.huey", "-w", "2"])
    assert (parsed.python, parsed.script, parsed.module) == ((sys.executable, "-E"), path, None)
    assert (parsed.arguments, parsed.name, parsed.label) == (("mod.huey", "-w", "2"), "mod.huey", "app:mod.huey")


def test_an_installer_starts_a_long_path_with_a_shell(tmp_path: Path) -> None:
    path = script(tmp_path, f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n")
    assert command.parse([path, "mod.huey"]).python == (sys.executable,)


def test_options_of_the_interpreter_stay_with_it(tmp_path: Path) -> None:
    parsed = command.parse([sys.executable, "-X", "utf8", "-u", "-m", "huey.bin.huey_consumer", "mod.huey"])
    assert (parsed.python, parsed.module) == ((sys.executable, "-X", "utf8", "-u"), "huey.bin.huey_consumer")
    parsed = command.parse([sys.executable, "manage.py", "run_huey", "--no-periodic"])
    assert (parsed.script, parsed.arguments) == ("manage.py", ("run_huey", "--no-periodic"))


@pytest.mark.parametrize("words", [["/nowhere/huey_consumer"], ["/bin/ls"], [sys.executable], [sys.executable, "-c"]])
def test_what_is_no_python_program_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        command.parse(words)
    assert refused.value.code == "app_command"
