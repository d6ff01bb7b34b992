"""deploy/apps: qmrunner in front of the command of an application's own worker."""

from __future__ import annotations

import pytest
import yaml

from tests.support import ROOT


@pytest.mark.parametrize("name", ["compose.yaml", "qm-nmr-calc.yaml"])
def test_only_the_words_in_front_are_ours(name: str) -> None:
    worker = yaml.safe_load((ROOT / "deploy/apps" / name).read_text())["services"]["worker"]
    assert worker["command"][:4] == ["qmrunner", "run", "--", "huey_consumer"]
    assert worker["init"] is True
    assert worker["environment"]["QMRUNNER_HOME"]


def test_the_example_leaves_to_the_application_what_its_own_file_sets() -> None:
    services = yaml.safe_load((ROOT / "deploy/apps/qm-nmr-calc.yaml").read_text())["services"]
    assert list(services) == ["worker"]
    assert set(services["worker"]) == {"image", "build", "command", "init", "environment"}
    assert set(services["worker"]["environment"]) == {"QMRUNNER_HOME"}
