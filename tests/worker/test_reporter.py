"""Reports that the worker makes for short commands: the same as the command's own, or none, and never late."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.host.sockets import bind_short
from qmrunner.model.jobs import Submission
from qmrunner.reports import named, remote
from qmrunner.settings import Settings
from qmrunner.store.advance import accept
from qmrunner.worker import reporter as reporter_module
from qmrunner.worker.reporter import Reporter
from tests.security.test_sockets import JUNK, open_to_all
from tests.support import ROOT, Daemon, Home, short_folder, wait_for

__all__ = ["open_to_all"]
_WATER = {"structure": "a.xyz", "args": [], "atoms": 3, "files": ["a.xyz"]}
_DECK = {"deck": "a.nw", "files": ["a.nw"]}
_LONG_S = 30.0  # however busy the machine is


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Clients connect by its path."""
    with short_folder() as folder:
        yield folder


@contextmanager
def answering(app: App) -> Iterator[Reporter]:
    """A worker's reporter, in a thread."""
    reporter = Reporter(app)

    def turns() -> None:
        while True:
            try:
                reporter.turn()
            except OSError:
                return

    thread = threading.Thread(target=turns, daemon=True)
    thread.start()
    wait_for(lambda: reporter._listener is not None)
    yield reporter
    assert reporter._listener is not None
    reporter._listener.shutdown(socket.SHUT_RDWR)
    thread.join(_LONG_S)
    assert not thread.is_alive()
    reporter._listener.close()


@pytest.fixture
def app(tmp_path: Path, store_url: str) -> Iterator[App]:
    """A home whose store, of each kind, has jobs and a worker."""
    made = App(Settings(home=tmp_path / "home", store_url=store_url))
    made.open_store(create=True)
    for job, kind, params in (("aaa", "xtb", _WATER), ("bbb", "nwchem", _DECK)):
        with made.store.write() as connection:
            accept(connection, made.store.now(), job, Submission(kind, params, name=f"{job} é\n{{}}"), made.planner)
    yield made
    made.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and a worker that wait for as long as a busy machine needs."""
    monkeypatch.setattr(remote, "ANSWER_S", _LONG_S)
    monkeypatch.setattr(reporter_module, "_SLOW_S", _LONG_S)


def steady(report: Any) -> Any:
    """A report as JSON without what changes with time: ages and free space."""
    if isinstance(report, dict):
        return {
            key: steady(value)
            for key, value in report.items()
            if key not in ("heartbeat_age_s", "free_mib", "free_files", "age_s")
        }
    return [steady(value) for value in report] if isinstance(report, list) else report


@pytest.mark.parametrize("question", [("overview",), ("job", "aaa"), ("why", "bbb"), ("logs", "aaa"), ("job", "bbb")])
def test_the_answer_is_the_report_that_the_command_makes(app: App, patient: None, question: tuple[str, ...]) -> None:
    with answering(app):
        answer = remote.ask(app.settings, *question)
    own = json.loads(json.dumps(named.make(app, *question), default=str))
    assert answer is not None
    assert steady(answer) == steady(own)
    assert json.dumps(steady(answer)) == json.dumps(steady(own)), "in the same order"


def test_what_was_committed_before_the_question_is_in_the_answer(app: App, patient: None) -> None:
    with answering(app):
        for number in range(5):
            with app.store.write() as connection:
                accept(connection, app.store.now(), f"new{number}", Submission("xtb", _WATER), app.planner)
            found = remote.ask(app.settings, "overview")
            assert found is not None
            assert found["queue"]["jobs"] == {"queued": 3 + number}


# -- who gets no answer ------------------------------------------------------------------------------------------------


def test_a_command_with_other_settings_reads_the_store_itself(
    app: App, patient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = app.settings
    others = {
        "lease": replace(own, lease_seconds=99.0),
        "remedies": replace(own, remedies="all"),
        "scratch": replace(own, scratch=tmp_path),
        "logs": replace(own, logs=tmp_path),
        "jobs": replace(own, jobs=tmp_path),
        "artifacts": replace(own, artifacts=f"file://{tmp_path}"),
        "store": replace(own, store_url=f"{own.store_url}x"),
    }
    with answering(app):
        for what, settings in others.items():
            assert remote.ask(settings, "overview") is None, what
        assert remote.ask(replace(own, slots=7, log_level="debug"), "overview"), "no report depends on these"
    before = remote.asker(own, "")
    monkeypatch.setenv("PGHOST", "elsewhere.example.org")
    assert (remote.asker(own, "") == before) == app.store.is_sqlite
    monkeypatch.setenv("PGPASSWORD", "verysecret")
    assert "verysecret" not in json.dumps(remote.asker(own, ""))


def test_reports_depend_on_no_other_setting(app: App) -> None:
    """`remote.asker` names what they depend on."""
    seen: set[str] = set()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            seen.add(name)
            return getattr(app.settings, name)

    watched = App(Watched())  # type: ignore[arg-type]
    for question in (("overview",), ("job", "aaa"), ("why", "aaa"), ("logs", "aaa")):
        named.make(watched, *question)
    watched.close()
    known = {"store", "artifacts", "lease_seconds", "remedies", "home", "jobs_root", "scratch_root", "logs_root"}
    connection_only, inside_home = {"slots"}, {"run_root"}
    assert seen <= known | connection_only | inside_home


def test_a_program_of_other_code_gets_no_answer(app: App, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(app):
        assert remote.ask(app.settings, "overview")
        monkeypatch.setattr(remote, "code", lambda: "other")
        assert remote.ask(app.settings, "overview") is None


def test_code_is_other_code_when_any_file_of_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in remote._ROOMS:
        (tmp_path / room).mkdir(exist_ok=True)
        (tmp_path / room / "a.py").write_text("1")
    monkeypatch.setattr(remote, "_PACKAGE", tmp_path)
    seen = {remote.code()}
    for room in remote._ROOMS:
        (tmp_path / room / "a.py").write_text("12")
        seen.add(remote.code())
        (tmp_path / room / "b.py").write_text("")
        seen.add(remote.code())
        os.utime(tmp_path / room / "a.py", (1, 1))
        seen.add(remote.code())
    assert len(seen) == 1 + 3 * len(remote._ROOMS)


def test_a_process_that_reads_no_file_of_the_home_gets_no_answer(app: App, patient: None) -> None:
    """As a confined engine, which is the same user."""
    with answering(app):
        key = app.settings.run_root / remote.KEY
        assert key.stat().st_mode & 0o777 == 0o600
        assert remote.ask(app.settings, "overview")
        key.write_text("other")
        assert remote.ask(app.settings, "overview") is None
        key.unlink()
        assert remote.ask(app.settings, "overview") is None


def test_a_container_with_another_folder_at_the_same_path_gets_no_answer(app: App, patient: None) -> None:
    asked = remote.asker(app.settings, "")
    scratch = app.settings.scratch_root
    scratch.mkdir(exist_ok=True)
    scratch.rename(scratch.with_name("moved"))
    scratch.mkdir()
    assert remote.asker(app.settings, "") != asked


def test_errors_are_left_to_the_command(app: App, patient: None) -> None:
    with answering(app):
        assert remote.ask(app.settings, "job", "zzz") is None
        assert remote.ask(app.settings, "why", "zzz") is None
        assert remote.ask(app.settings, "logs", "aaa", "zzz") is None
        assert remote.ask(app.settings, "overview")


def test_a_replaced_store_is_not_reported_from_the_old_file(tmp_path: Path, patient: None) -> None:
    app = App(Settings(home=tmp_path / "home"))
    app.open_store(create=True)
    with answering(app):
        assert remote.ask(app.settings, "overview")
        assert app.store.path
        app.store.path.rename(tmp_path / "old.db")
        assert remote.ask(app.settings, "overview") is None
        with pytest.raises(NotReadyError):
            App(app.settings).open_store(create=False)
    app.close()


def test_a_report_that_takes_much_time_is_refused_for_a_while(
    app: App, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def slow(app: App, name: str, *_: Any) -> Any:
        made.append(name)
        begun = time.thread_time()
        while name == "why" and time.thread_time() - begun < 0.15:
            pass
        return {}

    monkeypatch.setattr(named, "make", slow)
    monkeypatch.setattr(reporter_module, "_SLOW_S", 0.1)
    with answering(app):
        answers = [remote.ask(app.settings, name, "aaa") for name in ("why", "why", "job", "job", "why")]
    assert answers == [{}, None, {}, {}, None]
    assert made == ["why", "job", "job"]


# -- whatever answers --------------------------------------------------------------------------------------------------


def _silent(client: socket.socket) -> None:
    client.recv(1 << 16)
    time.sleep(1.0)


def _endless(client: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client.sendall(b" " * 4096)


def _trickling(client: socket.socket) -> None:
    with suppress(OSError):
        for _ in range(200):
            client.sendall(b"{")
            time.sleep(0.01)


_ANSWERS: dict[str, Callable[[socket.socket], None]] = {
    "closes": lambda client: None,
    "silent": _silent,
    "endless": _endless,
    "trickling": _trickling,
    "half": lambda client: client.sendall(b'{"workers": []'),
    "whole without its end": lambda client: client.sendall(b'{"workers": []}'),
    "no JSON": lambda client: client.sendall(b"hello\n"),
    "no text": lambda client: client.sendall(b"\xff\xfe\n"),
    "null": lambda client: client.sendall(b"null\n"),
}


@pytest.mark.parametrize("way", _ANSWERS)
def test_no_answer_of_another_kind_is_taken_and_none_is_waited_for_long(tmp_path: Path, way: str) -> None:
    settings = Settings(home=tmp_path)
    settings.run_root.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    bind_short(listener, settings.run_root, remote.SOCKET)
    listener.listen(4)

    def serve() -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            with client:
                _ANSWERS[way](client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    begun = time.thread_time()
    assert remote.ask(settings, "overview") is None
    assert time.thread_time() - begun < 1.0
    listener.close()
    thread.join(_LONG_S)


def test_a_command_waits_a_quarter_of_a_second_at_most() -> None:
    assert remote.ANSWER_S <= 0.25


def test_without_a_worker_there_is_no_answer(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert remote.ask(settings, "overview") is None, "no folder"
    settings.run_root.mkdir()
    assert remote.ask(settings, "overview") is None, "no socket"
    listener = socket.socket(socket.AF_UNIX)
    bind_short(listener, settings.run_root, remote.SOCKET)
    assert remote.ask(settings, "overview") is None, "nothing listens"
    listener.listen(0)
    fill = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for one in fill:
        one.setblocking(False)
        with suppress(OSError):
            one.connect(str(settings.run_root / remote.SOCKET))
    assert remote.ask(settings, "overview") is None, "a full backlog"
    for one in (*fill, listener):
        one.close()
    (settings.run_root / remote.SOCKET).unlink()
    (settings.run_root / remote.SOCKET).write_text("")
    assert remote.ask(settings, "overview") is None, "a file"


def test_the_worker_survives_whatever_is_asked(tmp_path: Path, patient: None) -> None:
    app = App(Settings(home=tmp_path / "home"))
    app.open_store(create=True)
    asker = remote.asker(app.settings, remote.code())
    with answering(app):
        right: dict[str, Any] = {"key": (app.settings.run_root / remote.KEY).read_text(), "asker": asker}
        wrong: list[dict[str, Any]] = [
            {**right, "name": "exports", "job": "aaa"},
            {**right, "name": ["overview"], "job": {"a": 1}},
            {**right, "name": "job", "job": 7},
            {**right, "key": right["key"][:-1], "name": "overview"},
            {**right, "key": None, "name": "overview"},
            {"asker": asker, "name": "overview"},
        ]
        for what, text in {**JUNK, **{f"wrong {one}": json.dumps(one).encode() for one in wrong}}.items():
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(app.settings.run_root / remote.SOCKET))
                one.settimeout(_LONG_S)
                with suppress(OSError):
                    one.sendall(text + remote.END)
                    one.shutdown(socket.SHUT_WR)
                    assert one.recv(100) == b"", what
        assert remote.ask(app.settings, "overview")
    app.close()


# -- other users -------------------------------------------------------------------------------------------------------

_SERVER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    os.chmod(sys.argv[1], 0o777)
    listener.listen(4)
    print("ready", flush=True)
    client, _ = listener.accept()
    client.settimeout(5)
    try:
        client.sendall(b'{"workers": [], "jobs": []}\\n')
    except BrokenPipeError:
        pass
    print(len(client.recv(100)), flush=True)
"""


def test_a_socket_of_another_user_is_neither_asked_nor_believed(
    tmp_path: Path, open_to_all: None, patient: None
) -> None:
    settings = Settings(home=tmp_path)
    settings.run_root.mkdir()
    os.chmod(settings.run_root, 0o777)
    words = [sys.executable, "-c", _SERVER, str(settings.run_root / remote.SOCKET)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        assert remote.ask(settings, "overview") is None
        assert server.stdout.readline() == "0\n", "it was sent nothing"
        assert server.wait(_LONG_S) == 0


def test_another_user_gets_no_report(tmp_path: Path, open_to_all: None, patient: None) -> None:
    from tests.security.test_sockets import as_nobody

    app = App(Settings(home=tmp_path / "home"))
    app.open_store(create=True)
    for folder in (app.settings.home, app.settings.run_root):
        os.chmod(folder, 0o755)
    with answering(app):
        place = app.settings.run_root / remote.SOCKET
        os.chmod(place, 0o777)
        asker = remote.asker(app.settings, remote.code())
        key = (app.settings.run_root / remote.KEY).read_text()
        question = json.dumps({"key": key, "asker": asker, "name": "overview", "job": None, "step": None}) + "\n"
        assert as_nobody("SOCK_STREAM", place, question) == b""
        assert remote.ask(app.settings, "overview")
    app.close()


# -- the program -------------------------------------------------------------------------------------------------------

_LOADED = """
import sys
from qmrunner.cli.main import main
from qmrunner.reports import remote
remote.ANSWER_S = float(sys.argv.pop(1))
try:
    main()
except SystemExit as ended:
    heavy = [name for name in ("sqlalchemy", "qmrunner.app", "qmrunner.model.jobs") if name in sys.modules]
    print(*heavy, file=sys.stderr)
    raise
"""


def looked(home: Home, *words: str, patience_s: float = remote.ANSWER_S) -> tuple[str, bool]:
    """What a command prints, and whether it loaded what reads the store."""
    ended = subprocess.run(
        [sys.executable, "-c", _LOADED, str(patience_s), *words], cwd=ROOT, env=home.environment(),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *_, last = ended.stderr.splitlines()
    return ended.stdout, bool(last)


def test_a_command_prints_the_same_from_the_worker_and_from_the_store(
    home: Home, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    home.extra["QMRUNNER_XTB"] = str(ROOT / "tests" / "stand_ins" / "xtb")
    job = home.json("submit", "xtb", str(tmp_path / "water.xyz"))["id"]
    started = daemon()
    wait_for(lambda: home.job(job)["state"] in ("succeeded", "failed"), what="the end of the job")
    commands = [("status", job), ("why", job, "--json"), ("logs", job)]

    def from_worker(words: tuple[str, ...]) -> str:
        def answered() -> str | None:
            text, own = looked(home, *words, patience_s=_LONG_S)
            return None if own else text

        # On a busy machine the worker may not wait for the question.
        return str(wait_for(answered, 60.0, "an answer of the worker"))

    quick = {words: from_worker(words) for words in commands}
    assert job in from_worker(("status",))
    consumer = json.loads((home.settings.run_root / "supervisor.json").read_text())["children"]["consumer"]["pid"]
    os.kill(consumer, signal.SIGSTOP)
    try:
        for words in commands:
            assert looked(home, *words) == (quick[words], True), words
        text, own = looked(home, "status")
        assert own
        assert job in text
    finally:
        os.kill(consumer, signal.SIGCONT)
    assert started.stop() == 0
    assert looked(home, *commands[0]) == (quick[commands[0]], True)
