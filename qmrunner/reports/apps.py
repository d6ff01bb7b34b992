"""The Huey applications of this home, for `status`."""

from __future__ import annotations

import json
import time
from typing import Any

from qmrunner.app import App
from qmrunner.host.home import app_files

_APP_STALE_S = 30.0
_OF_APP = (
    "name", "state", "evidence", "pid", "queue", "storage", "guarantee", "isolation", "workers", "import_s",
    "pending", "scheduled", "huey", "python",
)  # fmt: skip


def apps(app: App) -> list[dict[str, Any]]:
    """The Huey applications of this home, as its daemon last saw them; `age_s` ago, `null` where it has not asked."""
    found = []
    for path in app_files(app.settings.run_root):
        try:
            known = json.loads(path.read_text())
            age = max(0.0, time.time() - known["at"])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # being replaced, or damaged
        row = {name: known.get(name) for name in _OF_APP}
        found.append({**row, "age_s": round(age, 1), "stale": age > _APP_STALE_S})
    return found
