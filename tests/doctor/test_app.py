"""`doctor` on the command of a Huey application."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from qmrunner.doctor import app


def test_an_interpreter_with_huey_is_sound() -> None:
    found = app.command(f"{sys.executable} -m huey.bin.huey_consumer mod.huey")
    assert (found.result, found.text.partition(":")[0]) == ("ok", "mod.huey")


def test_a_command_that_is_no_python_program_fails() -> None:
    assert app.command("/nowhere/huey_consumer mod.huey").code == "app_command"


def test_an_interpreter_without_huey_or_that_does_not_run_fails(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    for text, code in (("echo '[[3, 11], null]'", "huey_missing"), ("echo '[[3, 8], \"3.5.4\"]'", "app_python")):
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(0o755)
        assert app.command(f"{shlex.quote(str(python))} -m huey.bin.huey_consumer mod.huey").code == code
    python.write_text("#!/bin/sh\nexit 1\n")
    assert app.command(f"{shlex.quote(str(python))} -m huey.bin.huey_consumer mod.huey").code == "app_python"


def test_a_huey_that_is_not_tested_is_a_warning(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho '[[3, 11], \"4.0.0\"]'\n")
    python.chmod(0o755)
    assert app.command(f"{shlex.quote(str(python))} -m huey.bin.huey_consumer mod.huey").code == "huey_untested"
