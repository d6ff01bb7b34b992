"""What a task finds in its process: the same as in a worker of Huey itself, or what its guide promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.apps.conftest import Lab
from tests.apps.test_zoo import no_daemon

COMMAND = (sys.executable, "-m", "huey.bin.huey_consumer", "kinds.queue.huey", "-w", "1", "-k", "process")


def ask(lab: Lab, *cases: str) -> dict[str, Any]:
    found: dict[str, Any] = dict(json.loads(lab.module("kinds.ask", *cases)))
    return found


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_task_finds_what_it_finds_under_huey_itself(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = Lab(tmp_path / "plain", no_daemon)
    with plain.plain(COMMAND, tmp_path / "plain.out"):
        expected = ask(plain)
    lab.start(COMMAND)
    found = ask(lab)
    # Under Huey the twin lives on as a second worker, and its result may be the last; here only one process has one.
    assert (expected.pop("forked_twin"), found.pop("forked_twin")) in ((True, True), ("twin", True))
    assert found == expected
    assert len(found) > 8
    # Each task is a process: where Huey's workers live on, these differ from Huey.
    assert ask(lab, "interrupted_child", "processes") == {"interrupted_child": -2, "processes": [1, 2]}
    first, second = ask(lab, "draws")["draws"], ask(lab, "draws")["draws"]
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert not [target for target in ask(lab, "descriptors")["descriptors"] if "guardian" in target]
    ask(lab, "reports_late")
    assert (lab.folder / "data/late.log").read_text() == "in memory\n"
    assert (lab.folder / "data/late.exit").exists()


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("name", "isolation"), [("import", "exec"), ("hooks", "worker"), ("signals", "fork"), ("storage", "fork")]
)
def test_an_application_that_a_fork_would_break_is_run_otherwise(lab: Lab, name: str, isolation: str) -> None:
    lab.environment = {"SHARES": name}
    lab.start((sys.executable, "-m", "huey.bin.huey_consumer", "kinds.shares.huey", "-w", "2"), **lab.environment)
    assert lab.module("kinds.shares") == "[0, 1, 2, 3, 4, 5]\n"
    if name == "signals":
        assert "qm-signals" in (lab.folder / "data/handlers").read_text()
    (app,) = lab.home.json("status")["apps"]
    assert (app["isolation"], app["guarantee"]) == (isolation, "peek" if name == "storage" else "full")
    assert {job["state"] for job in lab.jobs()} == {"succeeded"}
