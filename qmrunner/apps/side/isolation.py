"""How tasks are kept apart, where nothing was configured: a fork of the host for each, unless that would break it."""

from __future__ import annotations

import sys
from typing import Any

from huey.constants import WORKER_PROCESS

from qmrunner.apps.side import hooks, sharing

FORK, EXEC, WORKER, AUTO = "fork", "exec", "worker", "auto"


def settle(configured: str, consumer: Any, own: set[int], *, alone: bool) -> str:
    """Run the startup hooks, but with `worker`, whose processes run them. Returns the isolation of the tasks. `own` are
    descriptors of the host itself. `alone`: the command runs nothing but the consumer."""
    huey = consumer.huey
    if configured != AUTO:
        hooks.run(huey._startup if configured != WORKER else {})
        sharing.close_connections()
        return configured
    flag = consumer.stop_flag
    own = own | {getattr(flag, name) for name in ("_r", "_w") if hasattr(flag, name)}
    imported = _private(huey, own)
    if not alone:
        own, imported = own | set(sharing.descriptors()), set()
    chosen = FORK
    if imported and consumer.worker_type == WORKER_PROCESS:
        # Huey's processes have no threads of the import, and share its connections.
        imported -= sharing.threads()
        chosen = WORKER if imported else FORK
    elif imported and not huey._startup and not sharing.has_server(own):
        chosen = EXEC
    if chosen != FORK:
        _report(chosen, "the import of the application", imported)
    elif huey._startup:
        hooks.run(huey._startup)
        opened = _private(huey, own) - imported
        if opened:
            hooks.run(huey._shutdown)
            chosen = WORKER
            _report(chosen, "its startup hooks", opened)
    if chosen == FORK and imported:
        print(
            f"qmrunner: isolation fork, although the import of the application opened what tasks will lack or share:"
            f" {', '.join(sorted(imported))}",
            file=sys.stderr,
        )
    return chosen


def _private(huey: Any, own: set[int]) -> set[str]:
    huey.storage.close()
    sharing.close_connections()
    return sharing.threads() | {target for number, target in sharing.descriptors().items() if number not in own}


def _report(chosen: str, by: str, found: set[str]) -> None:
    print(f"qmrunner: isolation {chosen}, because {by} opened {', '.join(sorted(found))}", file=sys.stderr)
