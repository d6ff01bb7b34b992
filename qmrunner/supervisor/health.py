"""Health of a home's daemon, from its lock and its state files alone: no store, no network."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from qmrunner.host.home import STATE_FILE, SUPERVISOR_FILE, holder_of
from qmrunner.settings import Settings

# The supervisor writes its file every 5 s.
_SUPERVISOR_SILENT_S = 20.0
# Modification time newer than the content: see `home.write_state`.
_UNWRITTEN_S = 5.0


def examine(settings: Settings) -> dict[str, Any]:
    """{"healthy", "reason", ...ages in seconds}."""
    holder = holder_of(settings.run_root)
    supervisor = _aged(settings.run_root / SUPERVISOR_FILE)
    consumer = _aged(settings.run_root / STATE_FILE)
    silent_after = max(settings.lease_seconds, 3 * settings.heartbeat_seconds)
    reason = None
    if holder is None:
        reason = f"no daemon runs on {settings.home}"
    elif supervisor is None or supervisor["age_s"] > _SUPERVISOR_SILENT_S:
        reason = "the supervisor has not reported for more than 20 s"
    elif consumer is None:
        reason = "the consumer has not reported yet"
    elif consumer["age_s"] > silent_after:
        reason = f"the consumer has not reported for {consumer['age_s']:.0f} s"
    elif unwritten := max(supervisor["unwritten_s"], consumer["unwritten_s"]):
        reason = f"the daemon has not been able to write {settings.run_root} for {unwritten:.0f} s; is its disk full?"
    elif consumer.get("store_lost_s") is not None:
        reason = f"the store has not answered for {consumer['store_lost_s']:.0f} s; engines keep running"
    return {
        "healthy": reason is None,
        "reason": reason,
        "pid": holder["pid"] if holder else None,
        "supervisor_age_s": supervisor["age_s"] if supervisor else None,
        "consumer_age_s": consumer["age_s"] if consumer else None,
        "children": supervisor.get("children") if supervisor else None,
    }


def _aged(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        marked = path.stat().st_mtime
    except (OSError, ValueError):
        return None
    unwritten = marked - value["at"]
    value["unwritten_s"] = unwritten if unwritten > _UNWRITTEN_S else 0.0
    value["age_s"] = round(max(0.0, time.time() - max(value["at"], marked)), 1)
    return value
