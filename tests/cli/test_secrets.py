"""The password of a URL is in nothing that a command prints or a daemon writes, however the URL is mistyped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests import ready
from tests.sampling import share, turn
from tests.support import ROOT, Daemon, Home
from tests.urls import MISTYPED, PASSWORD

COMMANDS = [
    ["status", "--json"],
    ["why", "nosuchjob"],
    ["submit", "nmr", "CCO", "--key", "k"],
    ["doctor"],
    ["health"],
    ["db", "check"],
    ["db", "upgrade"],
    ["cancel", "nosuchjob"],
    ["sweep"],
    ["scratch", "plan"],
    ["token", "list"],
    ["run", "--until-idle", "--walltime", "1"],
]
SHARES = 3
VARIABLES = [f"QMRUNNER_{name}" for name in ("STORE_URL", "QUEUE_URL", "ARTIFACTS", "STORE_ULR", "LOG_LEVEL")]


def clean(home: Home, *args: str, **more: str) -> None:
    ended = home.run(*args, timeout_s=60, **more)
    told = ended.stdout + ended.stderr
    assert PASSWORD not in told, (args, more, told)
    assert "Traceback" not in told
    assert "internal_error" not in told
    for file in home.path.glob("run/*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("url", share(MISTYPED, SHARES))
def test_no_command_prints_the_password_of_a_setting(home: Home, url: str) -> None:
    home.extra |= dict.fromkeys(("QMRUNNER_NWCHEM", "QMRUNNER_CREST", "QMRUNNER_MPIRUN", "QMRUNNER_XTB"), "true")
    # Each command in turn, so that over the corpus every one meets every setting.
    begin = MISTYPED.index(url) + turn()
    for number, variable in enumerate(VARIABLES):
        clean(home, *COMMANDS[(begin + number) % len(COMMANDS)], **{variable: url})
    clean(home, "doctor", "--json", QMRUNNER_STORE_URL=url, QMRUNNER_QUEUE_URL=url)


@pytest.mark.parametrize("url", share(MISTYPED, SHARES))
def test_the_target_of_a_copy_is_not_printed_with_its_password(home: Home, url: str) -> None:
    ready.home(home.path)
    ended = home.run("db", "copy", "--to", url, timeout_s=60)
    assert ended.returncode != 0
    assert PASSWORD not in ended.stdout + ended.stderr
    assert "internal_error" not in ended.stderr, ended


@pytest.mark.parametrize(
    "line", ["QMRUNNER_STORE_URL {}", "QMRUNNER_STORE_URL: {}", "STORE_URL={}", "{}", "export QMRUNNER_STORE_URL={}"]
)
def test_a_line_of_the_settings_file_is_not_printed_with_a_password(home: Home, line: str) -> None:
    home.path.mkdir()
    for url in share(MISTYPED, 3 * SHARES):
        (home.path / "qmrunner.env").write_text(line.format(url) + "\n")
        clean(home, "status")


def test_a_password_from_a_file_and_those_of_libraries_are_known(home: Home) -> None:
    secret = home.path.parent / "secret"
    secret.write_text(f"{PASSWORD}\n")
    url = f"postgresql://me@127.0.0.1:1/{PASSWORD}"
    clean(home, "status", QMRUNNER_STORE_URL=url, QMRUNNER_STORE_PASSWORD_FILE=str(secret))
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        clean(home, "doctor", QMRUNNER_STORE_URL=url, **{name: PASSWORD})


def test_a_daemon_writes_no_password_of_a_queue_that_does_not_answer(home: Home, daemon: Callable[..., Daemon]) -> None:
    home.extra["QMRUNNER_QUEUE_URL"] = f"redis://user:{PASSWORD}@127.0.0.1:1/0"
    running = daemon()
    assert running.told("library_message")
    running.stop()
    assert PASSWORD not in running.text()
    for file in home.path.glob("run/*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    "where", ["logs.get().error('x', exc_info=e, more=[{'a': e}])", "raise", "threading.Thread(target=fail).start()"]
)
def test_a_traceback_has_no_password_and_nothing_raw(home: Home, where: str) -> None:
    code = f"""
import threading
from pathlib import Path
from qmrunner import logs, settings
settings.load()
logs.configure(Path({str(home.path)!r}), "info")
def fail():
    raise RuntimeError("cannot reach {PASSWORD} at \\x1b\\u202e\\x9b postgresql:/u:other-word@h")
try:
    fail()
except RuntimeError as e:
    {where}
"""
    variables = home.environment(PYTHONPATH=str(ROOT), QMRUNNER_STORE_URL=f"postgresql://me:{PASSWORD}@h/x")
    ended = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=60)
    file = home.path / "events.jsonl"
    told = ended.stderr + (file.read_text() if file.exists() else "")
    assert "cannot reach ***" in told
    assert r"\x1b\u202e\x9b" in told or r"\u001b\u202e\u009b" in told
    assert PASSWORD not in told
    assert "other-word" not in told
    assert not set("\x1b\u202e\x9b") & set(told)
