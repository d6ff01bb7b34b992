"""Startup and shutdown hooks of an application."""

from __future__ import annotations

import sys
import traceback
from typing import Any


def run(hooks: dict[str, Any]) -> None:
    for name, hook in hooks.items():
        try:
            hook()
        except Exception:
            print(f"qmrunner: the hook {name!r} failed", file=sys.stderr)
            traceback.print_exc()
