"""The command of an application in its environment: how it is executed again, and what it must not see."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from qmrunner.guardian.process import COMMAND, Order

HOST = "QMRUNNER_APP_HOST"  # the spec, for a command that starts the application's interpreter itself
HOOK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hook")
_OWN = "QMRUNNER_"


def execute_again(spec: dict[str, Any], order: Order) -> NoReturn:
    """Become the command once more, for one task."""
    spec = spec | {"order": os.path.join(os.path.dirname(order.work), COMMAND)}
    path = os.pathsep.join(filter(None, (HOOK, os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, **order.env, "PYTHONPATH": path, HOST: json.dumps(spec)}
    os.execvpe(spec["argv"][0], spec["argv"], environment)


def forget_own_settings() -> None:
    """The environment of tasks is that of the application."""
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = [part for part in parts if part != HOOK]
    if rest != parts:
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
        if not any(rest):
            del os.environ["PYTHONPATH"]
    for name in [name for name in os.environ if name.startswith(_OWN)]:
        del os.environ[name]
