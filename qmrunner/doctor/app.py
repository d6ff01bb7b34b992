"""The Huey application of this worker, as far as it can be seen without importing it."""

from __future__ import annotations

import json
import shlex
import subprocess

from qmrunner.apps.command import parse
from qmrunner.doctor.finding import Finding, fail, ok, warn
from qmrunner.errors import UsageError

_ASK = """
import json, sys
try:
    from importlib.metadata import version
    found = version("huey")
except Exception:
    found = None
print(json.dumps([list(sys.version_info[:2]), found]))
"""
_TIMEOUT_S = 20.0
_OLDEST_PYTHON, _TESTED_HUEY = (3, 9), "3.5."


def command(text: str, name: str | None = None) -> Finding:
    """Whether the command can be taken over: its interpreter runs, is new enough, and has Huey."""
    try:
        parsed = parse(shlex.split(text))
        if not parsed.python:
            return ok("app", f"{name or parsed.name}: {parsed.words[0]} starts its Python, which is known once it runs")
        ended = subprocess.run(
            [*parsed.python, "-c", _ASK], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        python, huey = json.loads(ended.stdout)
    except UsageError as problem:
        return fail("app", problem.code, problem.message, problem.remedy)
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        return fail("app", "app_python", f"the application's interpreter does not work: {problem}", "check its path")
    shown = f"{name or parsed.name}: Python {python[0]}.{python[1]} at {parsed.python[0]}, Huey {huey}"
    if tuple(python) < _OLDEST_PYTHON:
        return fail("app", "app_python", shown, "use Python 3.9 or newer for the application")
    if huey is None:
        return fail("app", "huey_missing", shown, f"`{parsed.python[0]} -m pip install huey`, or name the right Python")
    if not huey.startswith(_TESTED_HUEY):
        return warn("app", "huey_untested", shown, f"tested is Huey {_TESTED_HUEY}*: try a kill before you rely on it")
    return ok("app", shown)
