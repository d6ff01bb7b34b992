"""What the container tests share: real containers of the image under test, by the docker command, surely removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import wait_for

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("E2E_IMAGE", "qmrunner:e2e")
LABEL = "qmrunner.e2e"
# As in deploy/compose.yaml: no rights, nothing to write but the volumes and /tmp.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")
# Ranks that wait for each other on a busy machine make runs many times longer, so one core unless a test is about more.
QUICK = {
    "QMRUNNER_CORES": "1",
    "QMRUNNER_HEARTBEAT_SECONDS": "1",
    "QMRUNNER_LEASE_SECONDS": "10",
    "QMRUNNER_RETRY_DELAY_SECONDS": "0.1",
    "QMRUNNER_REUSE": "off",
    "QMRUNNER_WORKER_NAME": "worker",
}
FINAL = ("succeeded", "failed", "cancelled", "held")
FOLDERS = {"data": "/data", "scratch": "/scratch", "logs": "/logs"}


def docker(*args: str, check: bool = True, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """`docker ARGS` to its end. With `check`, anything but status 0 fails the test with its output."""
    ended = subprocess.run(
        ["docker", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
    )
    assert not check or ended.returncode == 0, f"docker {' '.join(args)}: {ended.returncode}\n{ended.stderr}"
    return ended


class Volumes:
    """Three named volumes of one test, as an operator has them: data, scratch, logs."""

    def __init__(self, session: str) -> None:
        self._session = session
        self.names: dict[str, str] = {}

    def name(self, kind: str, *options: str) -> str:
        """The volume of that kind, made on first use; `options` go to `docker volume create`."""
        if kind not in self.names:
            name = f"{self._session}-{kind}-{uuid.uuid4().hex[:8]}"
            docker("volume", "create", "--label", f"{LABEL}={self._session}", *options, name)
            self.names[kind] = name
        return self.names[kind]

    def flags(self) -> list[str]:
        return [word for kind, path in FOLDERS.items() for word in ("-v", f"{self.name(kind)}:{path}")]

    def look(self, command: str) -> str:
        """The output of a shell that sees the volumes as root, in a separate container."""
        argv = ["run", "--rm", "--label", f"{LABEL}={self._session}", "--user", "0", "--network", "none"]
        return docker(*argv, *self.flags(), "--entrypoint", "sh", IMAGE, "-c", command).stdout


class Container:
    """One container with the daemon. Made by the `worker` fixture, which removes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    # -- its life -----------------------------------------------------------------------------------------------------

    def inspect(self, what: str) -> str:
        return docker("inspect", "--format", f"{{{{{what}}}}}", self.name).stdout.strip()

    def running(self) -> bool:
        return self.inspect(".State.Running") == "true"

    def exit_code(self) -> int:
        return int(self.inspect(".State.ExitCode"))

    def ended(self, deadline_s: float = 30.0) -> int:
        """Its exit status, once it has ended."""
        wait_for(lambda: not self.running(), deadline_s, f"the end of {self.name}")
        return self.exit_code()

    def healthy(self, deadline_s: float = 60.0) -> Container:
        def well() -> bool:
            assert self.running(), f"it ended with {self.exit_code()}:\n{self.output()}"
            return self.sh("qmrunner health").returncode == 0

        wait_for(well, deadline_s, f"a healthy {self.name}")
        return self

    def output(self) -> str:
        """All of `docker logs`, stdout and stderr."""
        ended = docker("logs", self.name)
        return ended.stdout + ended.stderr

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in docker("logs", self.name).stdout.splitlines() if line.startswith("{")]
        return [event for event in found if name in (None, event["event"])]

    # -- inside -------------------------------------------------------------------------------------------------------

    def sh(self, command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.name, "sh", "-c", command, check=False, timeout_s=timeout_s)

    def run(self, *args: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """`docker exec … qmrunner ARGS`."""
        return docker("exec", self.name, "qmrunner", *args, check=False, timeout_s=timeout_s)

    def json(self, *args: str, status: int = 0, timeout_s: float = 60.0) -> Any:
        before, dashes, after = list(args), [], []
        if "--" in before:
            at = before.index("--")
            before, dashes, after = before[:at], ["--"], before[at + 1 :]
        ended = self.run(*before, "--json", *dashes, *after, timeout_s=timeout_s)
        assert ended.returncode == status, ended
        return json.loads(ended.stdout)

    def put(self, path: str, text: str) -> str:
        """A file in the container, written by its own user."""
        subprocess.run(
            ["docker", "exec", "-i", self.name, "sh", "-c", f"cat >{path}"],
            input=text,
            text=True,
            check=True,
            timeout=30,
        )
        return path

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def submit(self, *args: str) -> str:
        return str(self.json("submit", *args)["id"])

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json("status", job)["job"]
        return found

    def step(self, job: str, stage: str) -> dict[str, Any]:
        return next((step for step in self.job(job)["steps"] if str(step["id"]).startswith(stage)), {})

    def finished(self, job: str, deadline_s: float = 240.0) -> dict[str, Any]:
        """The job as `status` shows it, once it has ended."""

        def over() -> dict[str, Any] | None:
            found = self.job(job)
            return found if found["state"] in FINAL else None

        found = wait_for(over, deadline_s, f"the end of {job}")
        assert found is not None
        return found

    def succeeded(self, job: str, deadline_s: float = 240.0) -> dict[str, Any]:
        """Its result; fails with the output of `why` otherwise."""
        ended = self.finished(job, deadline_s)
        assert ended["state"] == "succeeded", self.run("why", job).stdout
        result: dict[str, Any] = self.json("result", job)
        return result

    def attempts(self, job: str, stage: str) -> list[tuple[int, str, str | None]]:
        """(number, state, code) of every attempt at the steps of a stage."""
        return [
            (one["attempt"], one["state"], one["code"])
            for one in self.json("why", job)["attempts"]
            if str(one["step"]).startswith(stage)
        ]

    def processes(self) -> list[tuple[int, str, str]]:
        """(pid, state, command) inside the container."""
        script = (
            r"""for f in /proc/[0-9]*/stat; do sed 's/^\([0-9]*\) (\(.*\)) \(.\) .*/\1 \3 \2/' "$f" 2>/dev/null; done"""
        )
        rows = [line.split(" ", 2) for line in self.sh(script).stdout.splitlines()]
        return [(int(pid), state, command) for pid, state, command in rows]


@contextmanager
def composed(project: str, file: str, environment: Mapping[str, str], timeout_s: float) -> Iterator[Callable[..., str]]:
    """`run(ARGS)` of compose with a file of `deploy/`, to what it prints; taken down at the end, volumes and all."""
    plugin = docker("compose", "version", check=False).returncode == 0
    program = ["docker", "compose"] if plugin else [shutil.which("docker-compose") or "docker-compose"]
    argv = [*program, "-p", project, "-f", str(ROOT / "deploy" / file)]

    def run(*args: str) -> str:
        ended = subprocess.run(
            [*argv, *args],
            cwd=ROOT,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PWD": str(ROOT), "QMRUNNER_IMAGE": IMAGE, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert ended.returncode == 0, ended
        return ended.stdout

    try:
        yield run
    finally:
        run("down", "--volumes")


class Docker:
    """Makes containers, volumes and networks with one label, and removes all of them."""

    def __init__(self) -> None:
        self.session = f"qmrunner-e2e-{uuid.uuid4().hex[:8]}"
        self._made = 0

    def volumes(self) -> Volumes:
        return Volumes(self.session)

    def start(
        self,
        volumes: Volumes | None = None,
        *flags: str,
        command: Sequence[str] = (),
        image: str = IMAGE,
        healthy: bool = True,
        hardened: bool = True,
        **settings: str,
    ) -> Container:
        """`docker run -d`, hardened, with short times; `flags` and QMRUNNER_* `settings` come on top."""
        container = Container(f"{self.session}-{self._made}")
        self._made += 1
        environment: Mapping[str, str] = {**QUICK, **settings}
        argv = ["run", "-d", "--name", container.name, "--label", f"{LABEL}={self.session}", "--network", "none"]
        argv += [word for pair in environment.items() for word in ("-e", "=".join(pair))]
        if not any(flag.startswith("--shm-size") for flag in flags):
            argv += ["--shm-size", "1g"]
        argv += [*(HARDENED if hardened else ()), *(volumes.flags() if volumes else ()), *flags, image, *command]
        docker(*argv)
        return container.healthy() if healthy else container

    def remove_containers(self) -> None:
        mine = docker("ps", "-aq", "--filter", f"label={LABEL}={self.session}").stdout.split()
        if mine:
            docker("rm", "-f", "-v", *mine)

    def remove_all(self) -> None:
        self.remove_containers()
        volumes = docker("volume", "ls", "-q", "--filter", f"label={LABEL}={self.session}").stdout.split()
        if volumes:
            docker("volume", "rm", "-f", *volumes)
