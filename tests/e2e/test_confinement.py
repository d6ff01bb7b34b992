"""Confinement of engines in containers: under the engine's own seccomp profile, under ours, and without Landlock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.docker import ROOT, Container, Docker, Volumes
from tests.support import missing

OURS = ("--security-opt", f"seccomp={ROOT}/deploy/seccomp.json")
ASK = "import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))"


def finding(worker: Container, status: int = 0) -> dict[str, Any]:
    checks = worker.json("doctor", status=status)["checks"]
    return next(check for check in checks if check["name"] == "confinement")


def granted(worker: Container) -> int:
    """The Landlock ABI that the kernel reports to a process of this container; negative where it refuses."""
    return int(worker.sh(f'python3 -c "{ASK}"').stdout)


def notes(worker: Container, *submitted: str) -> list[str]:
    ended = worker.finished(worker.submit(*submitted))
    assert ended["state"] == "succeeded", ended
    attempts = worker.json("why", ended["id"])["attempts"]
    return [note for attempt in attempts for note in attempt["notes"] if note.startswith("confinement")]


def test_under_our_profile_an_engine_is_confined(containers: Docker, volumes: Volumes) -> None:
    worker = containers.start(volumes, *OURS)
    abi = granted(worker)
    if abi < 1:
        missing("the kernel of this machine has no Landlock")
    assert finding(worker)["data"]["landlock_abi"] == abi
    assert any(note.startswith(f"confinement: landlock ABI {abi}") for note in notes(worker, "nmr", "O"))


def test_under_the_engines_own_profile_doctor_states_what_holds(containers: Docker, volumes: Volumes) -> None:
    """Docker before 23 refuses the calls; later ones allow them. Both are right, as long as it is reported."""
    worker = containers.start(volumes)
    abi, found = granted(worker), finding(worker)
    if abi > 0:
        assert found["data"]["landlock_abi"] == abi
    else:
        assert (found["result"], found["code"]) == ("warn", "confinement_missing")
        assert "seccomp profile" in found["text"]
        assert "landlock_create_ruleset" in found["remedy"]
    expected = f"confinement: landlock ABI {abi}" if abi > 0 else "confinement: none, no Landlock"
    assert any(note.startswith(expected) for note in notes(worker, "nmr", "O"))


@pytest.fixture
def without(tmp_path: Path) -> tuple[str, ...]:
    """A profile that refuses Landlock, whatever the container engine is."""
    profile = json.loads((ROOT / "deploy/seccomp.json").read_text())
    calls = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]
    profile["syscalls"].append({"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": 1})
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    return ("--security-opt", f"seccomp={path}")


def test_without_landlock_require_is_a_failed_check(
    containers: Docker, volumes: Volumes, without: tuple[str, ...]
) -> None:
    worker = containers.start(volumes, *without, QMRUNNER_CONFINE="require")
    found = finding(worker, status=4)
    assert (found["result"], found["code"]) == ("fail", "confinement_missing")
    assert any(note.startswith("confinement: none") for note in notes(worker, "nmr", "O"))
