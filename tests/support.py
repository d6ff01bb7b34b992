"""What tests of the running program share: a separate home, the command line, and daemons that surely end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from qmrunner.app import App
from qmrunner.reports import status
from qmrunner.settings import Settings, load
from tests import ready as stores
from tests.patience import stretched
from tests.prefork import kind_of, preforked

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
# Times short enough for tests, long enough for a loaded machine.
SHORT = {
    "QMRUNNER_HEARTBEAT_SECONDS": "0.2",
    "QMRUNNER_LEASE_SECONDS": "2",
    "QMRUNNER_STOP_GRACE_SECONDS": "5",
    "QMRUNNER_ADOPTION_SECONDS": "60",
    "QMRUNNER_RETRY_DELAY_SECONDS": "0.05",
    "QMRUNNER_SLOTS": "2",
    "QMRUNNER_CORES": "2",
    "QMRUNNER_WORKER_NAME": "tester",
    "QMRUNNER_REUSE": "off",  # tests submit the same molecule again to see it run
    "QMRUNNER_CONFINE_ALLOW": str(ROOT / "tests"),  # recordings that stand-ins play back
}
_EVERY_S = 0.02


def wait_for(condition: Callable[[], T], deadline_s: float = 15.0, what: str | None = None) -> T:
    """The first true value of `condition`. Fails, naming `what`, when it has not become true by the deadline, which
    is later on a machine that does other work, too."""
    first = time.monotonic()
    while True:
        began = time.monotonic()
        if value := condition():
            return value
        now = time.monotonic()
        if now > first + deadline_s and now > first + stretched(deadline_s):
            raise AssertionError(
                f"{what or 'the condition'} did not come true within {now - first:.0f} s; last: {value!r}"
            )
        # What is waited for needs the processors: a look that costs much is taken less often, and so is any look
        # after a while, which delays no test by more than a twentieth of what it has waited for.
        time.sleep(max(_EVERY_S, min(2 * (now - began), 0.5), min((now - first) / 20, 0.1)))


def missing(reason: str) -> NoReturn:
    """This machine lacks what a test needs: skip it, except under CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def tmpfs(path: Path, mib: int) -> Iterator[Path]:
    """A separate volume of that size. Skips where this user may not mount; under CI that fails."""
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode != 0:
        missing(f"a volume cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for sockets, wherever temporary folders are: a socket address holds 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="qms-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """The process; it is gone and its pipes are closed after the block, whichever way the block ends."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def together(code: str, *calls: Sequence[str]) -> list[str]:
    """What processes print that run `code`, one with the arguments of each call, released at the same moment.

    Each prints "ready" and reads a line first, must end well and print nothing else. None outlives this.
    """
    with ExitStack() as block:
        running = [
            block.enter_context(
                ended(
                    subprocess.Popen(
                        [sys.executable, "-c", code, *arguments],
                        cwd=ROOT,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                    )
                )
            )
            for arguments in calls
        ]
        for one in running:
            assert one.stdout.readline() == "ready\n", one.communicate()
        for one in running:
            one.stdin.write("go\n")
            one.stdin.flush()
        answers = []
        for one in running:
            out, said = one.communicate(timeout=100)
            assert (one.returncode, said) == (0, ""), said
            answers.append(out)
        return answers


class Home:
    """A home in a temporary folder, with short times. `extra` are settings by variable name; change them freely."""

    def __init__(self, path: Path, extra: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.extra = {**SHORT, **(extra or {})}

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a process of this home. An empty value is as good as an unset one."""
        return {**os.environ, "PYTHONUNBUFFERED": "1", "QMRUNNER_HOME": str(self.path), **self.extra, **more}

    @property
    def settings(self) -> Settings:
        return load({name: value for name, value in self.environment().items() if name.startswith("QMRUNNER_")})

    def run(self, *args: str, timeout_s: float = 30.0, **more: str) -> subprocess.CompletedProcess[str]:
        """`qmrunner ARGS` with this home, in a separate process, to its end; `more` are variables."""
        environment = self.environment(PYTHONPATH=str(ROOT), **more)
        limit_s = stretched(timeout_s)
        ended = preforked(kind_of(args)).run(["-m", "qmrunner", *args], self.path.parent, environment, limit_s)
        ended.args = list(args)
        return ended

    def json(self, *args: str, **more: str) -> Any:
        """What `qmrunner ARGS --json` printed, which must have ended with status 0."""
        ended = self.run(*args, "--json", **more)
        assert ended.returncode == 0, ended
        return json.loads(ended.stdout)

    def job(self, job_id: str) -> dict[str, Any]:
        """What `qmrunner status JOB --json` shows of the job, looked up in this process: tests ask again and again,
        and a new interpreter for each look would take the processors from the engines that are waited for."""
        app = App(self.settings)
        try:
            app.open_store(create=False)
            found: dict[str, Any] = json.loads(json.dumps(status.job_view(app, job_id)["job"], default=str))
            return found
        finally:
            app.close()

    def processes(self) -> list[int]:
        """Every living process of this home: daemons, guardians and engines, by environment or working folder."""
        own = {os.getpid(), os.getppid()}
        return [
            int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own and self._owns(name)
        ]

    def _owns(self, pid: str) -> bool:
        try:
            variables = Path("/proc", pid, "environ").read_bytes().split(b"\0")
            if f"QMRUNNER_HOME={self.path}".encode() in variables:
                return True
            return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(self.path)
        except OSError:  # ended meanwhile, or a zombie, or not ours
            return False

    def end_processes(self, deadline_s: float = 10.0) -> None:
        """KILL until no process of this home is left."""

        def gone() -> bool:
            left = self.processes()
            for pid in left:
                with suppress(OSError):
                    handle = os.pidfd_open(pid)
                    try:
                        if self._owns(str(pid)):  # the number may have been given to another meanwhile
                            signal.pidfd_send_signal(handle, signal.SIGKILL)
                    finally:
                        os.close(handle)
            return not left

        wait_for(gone, deadline_s, f"the end of all processes of {self.path}")


class Daemon:
    """One `qmrunner run` on a home, its output in a file. Made by the `daemon` fixture, which ends it."""

    def __init__(
        self, home: Home, output: Path, before: Sequence[str] = (), arguments: Sequence[str] = (), **more: str
    ) -> None:
        self.home = home
        self.output = output
        with open(output, "ab") as sink:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "qmrunner", "run", *arguments],
                cwd=home.path.parent,
                env=home.environment(PYTHONPATH=str(ROOT), **more),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self, deadline_s: float = 20.0) -> Daemon:
        """Until supervisor and consumer of this very daemon have reported."""
        from qmrunner.supervisor.health import examine

        def ready() -> bool:
            assert self.running(), f"the daemon ended with {self.process.returncode}:\n{self.text()}"
            report = examine(self.home.settings)
            return bool(report["healthy"] and report["pid"] == self.pid)

        wait_for(ready, deadline_s, "a healthy daemon")
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, deadline_s: float = 20.0) -> int:
        """SIGTERM, and its exit status."""
        self.process.terminate()
        return self.process.wait(stretched(deadline_s))

    def kill(self) -> None:
        """SIGKILL to the supervisor alone."""
        self.process.kill()
        self.process.wait(10)

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON events it has printed, all or those called `name`."""
        found = [json.loads(line) for line in self.text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in found if name in (None, event.get("event"))]

    def told(self, name: str, job: str | None = None) -> list[dict[str, Any]]:
        """The events called `name`, of `job` alone when one is given, as soon as there are any.

        An end is in the store a moment before it is printed: who has seen it there must wait for its events.
        """
        return wait_for(
            lambda: [event for event in self.events(name) if job in (None, event.get("job"))],
            10.0,
            f"the event {name}",
        )


@contextmanager
def ended_daemons(home: Home) -> Iterator[Callable[..., Daemon]]:
    """A factory of daemons on `home`, or on another home given as `on`; none of their processes outlives the block.

    `before` are words of a command that executes the daemon, as `unshare` does; `arguments` are those of `run`. A home
    that is `fresh` has no store yet; otherwise the daemon finds an empty one.
    """
    started: list[Daemon] = []

    def start(
        *,
        on: Home | None = None,
        ready: bool = True,
        fresh: bool = False,
        before: Sequence[str] = (),
        arguments: Sequence[str] = (),
        **more: str,
    ) -> Daemon:
        place = on or home
        if not fresh and "QMRUNNER_STORE_URL" not in {**place.extra, **more}:
            stores.home(place.path)
        output = place.path.parent / f"{place.path.name}-daemon-{len(started)}.out"
        one = Daemon(place, output, before, arguments, **more)
        started.append(one)
        return one.wait_ready() if ready else one

    try:
        yield start
    finally:
        for one in started:
            if one.running():
                one.process.kill()
            one.process.wait(10)
        for place in {id(one.home): one.home for one in started}.values():
            place.end_processes()
