"""A machine that is as it should be, services that answer, and what an engine inherits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import redis
from tests.doctor.machines import Doctor, needs_nwchem, needs_xtb
from tests.support import Daemon, Home, ended, wait_for


@needs_nwchem
@needs_xtb
@pytest.mark.engine
def test_this_machine_has_no_fault(doctor: Doctor) -> None:
    told = doctor()
    assert told.summary["fail"] == 0, [check for check in told.checks.values() if check["result"] == "fail"]
    assert told.checks["nwchem"]["data"]["version"]
    assert told.checks["xtb"]["data"]["version"]
    for name in ("launcher", "binding", "cma", "root", "basis", "engines", "chemistry"):
        assert told.checks[name]["result"] == "ok"


def test_looking_makes_no_home(doctor: Doctor, home: Home) -> None:
    doctor()
    assert not home.path.exists()


def test_beside_a_running_daemon_nothing_is_disturbed(home: Home, daemon: Callable[..., Daemon]) -> None:
    running = daemon()
    told = home.run("doctor", "--json")
    assert told.returncode == 0, told
    checks = {check["name"]: check for check in json.loads(told.stdout)["checks"]}
    assert checks["daemon"]["data"]["pid"] == running.pid
    assert checks["store"]["data"]["state"] == "current"
    assert running.running()


def test_text_is_in_columns_without_colour_on_a_pipe(home: Home) -> None:
    told = home.run("doctor", QMRUNNER_CREST="/nowhere/crest", NO_COLOR="", FORCE_COLOR="1")
    assert told.returncode == 4
    assert "\x1b" not in told.stdout
    lines = told.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("fail  crest  "))
    assert lines[at + 1].startswith(" " * 23 + "fix: correct QMRUNNER_CREST")
    assert lines[-1].endswith("1 failed")


def test_a_server_for_the_store_reports_its_version_and_that_it_is_empty(
    home: Home, request: pytest.FixtureRequest
) -> None:
    told = Doctor(home)(QMRUNNER_STORE_URL=request.getfixturevalue("postgres_server"))
    assert told.checks["postgresql"]["result"] == "ok"
    assert told.checks["postgresql"]["data"]["version"]
    assert told.checks["store"]["data"]["state"] == "empty"


@pytest.fixture
def redis_url() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None and os.environ.get("CI") != "true":
        pytest.skip("redis-server is not installed")
    assert program
    folder = Path(tempfile.mkdtemp(prefix="qmr-"))  # the path of a socket is short
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", socket.name, "--save", ""],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    with ended(process):
        wait_for(socket.exists, 20.0, "the socket of Redis")
        yield f"unix://{quote(str(socket))}"
    shutil.rmtree(folder)


def test_a_server_for_the_queue_reports_its_version(redis_url: str) -> None:
    from qmrunner.doctor.services import redis_queue

    (found,) = redis_queue(redis_url)
    assert found.result == "ok", found
    assert found.data["version"]


def accesses(url: str) -> list[str]:
    from qmrunner.doctor.services import redis_queue

    first, *rest = redis_queue(url)
    assert (first.name, first.result) == ("redis", "ok"), first
    assert all(one.result == "warn" and one.remedy for one in rest)
    return [str(one.code) for one in rest]


def test_a_queue_without_a_password_is_reported(tmp_path: Path) -> None:
    with redis.server(tmp_path / "redis") as server:
        assert accesses(server.url) == []
        admin = server.client()
        # A user with a password beside a `default` that is open to all: the password of the URL protects nothing.
        admin.acl_setuser("worker", enabled=True, passwords=["+word"], keys=["*"], categories=["+@all"])
        named = f"redis://worker:word@127.0.0.1:{server.port}/0"
        assert accesses(named) == []
        admin.execute_command("ACL", "SETUSER", "default", "nopass")
        assert accesses(named) == ["queue_open"]
        assert accesses(f"redis://127.0.0.1:{server.port}/0") == ["queue_open"]
        admin.execute_command("ACL", "SETUSER", "default", "off")
        assert accesses(named) == []
        admin.close()


@pytest.mark.parametrize(
    ("host", "tls", "verify", "is_open", "codes"),
    [
        (None, False, None, True, []),  # a socket in the filesystem
        ("127.0.0.1", False, None, False, []),
        ("127.8.8.8", False, None, True, ["queue_open"]),
        ("::1", False, None, False, []),
        ("localhost", False, None, True, ["queue_open"]),
        ("192.0.2.7", False, None, False, ["queue_unencrypted"]),
        ("192.0.2.7", False, None, True, ["queue_open", "queue_unencrypted"]),
        ("192.0.2.7", True, "required", False, []),
        ("192.0.2.7", True, "required", True, ["queue_open"]),
        ("192.0.2.7", True, "none", False, ["queue_unverified"]),
        ("no-such-host.invalid", False, None, False, ["queue_unencrypted"]),
    ],
)
def test_who_else_may_use_the_queue(
    host: str | None, tls: bool, verify: str | None, is_open: bool, codes: list[str]
) -> None:
    from qmrunner.doctor.services import queue_access

    assert [one.code for one in queue_access("it", host, tls, verify, is_open)] == codes


def test_the_doctor_warns_of_a_queue_without_a_password_and_shows_none(home: Home, tmp_path: Path) -> None:
    with redis.server(tmp_path / "redis") as server:
        server.client().execute_command("ACL", "SETUSER", "default", "nopass")
        told = home.run("doctor", "--json", QMRUNNER_QUEUE_URL=server.url)
        found = {one["name"]: one for one in json.loads(told.stdout)["checks"]}
    assert found["redis_access"]["code"] == "queue_open"
    assert "every user of this machine" in found["redis_access"]["text"]
    assert "c%40ret" not in told.stdout


@needs_nwchem
@pytest.mark.engine
def test_the_environment_of_an_engine_is_reported_with_every_change(home: Home) -> None:
    told = home.json("doctor", "--env", "nwchem", OMP_NUM_THREADS="8", OMPI_MCA_mtl="ofi", SLURM_JWT="a.b.c", TZ="CET")
    changes = {change["name"]: change for change in told["changes"]}
    assert changes["OMP_NUM_THREADS"] == {**changes["OMP_NUM_THREADS"], "was": "8", "now": "1"}
    assert changes["OMPI_MCA_mtl"]["now"] is None
    assert "launcher" in changes["OMPI_MCA_mtl"]["why"]
    assert changes["TZ"]["now"] == "UTC"
    assert told["set"]["TMPDIR"].startswith(str(home.path / "scratch"))
    assert told["set"]["OMPI_MCA_hwloc_base_binding_policy"] == "none"
    assert "PATH" in told["passed_on"]
    assert "a.b.c" not in json.dumps(told)
    text = home.run("doctor", "--env", "nwchem", OMPI_MCA_mtl="ofi")
    assert text.returncode == 0
    assert "drop   OMPI_MCA_mtl" in text.stdout


def test_the_environment_of_an_unknown_engine_is_a_usage_error(home: Home) -> None:
    told = home.run("doctor", "--env", "nwchm")
    assert told.returncode == 2
    assert "did you mean nwchem?" in told.stderr
