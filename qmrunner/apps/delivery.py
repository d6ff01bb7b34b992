"""What a task's end sends is sent before the end is committed: once, however often that is repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from qmrunner.app import App
from qmrunner.apps.host_client import AppHostClient
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.model.policy import Ending, Finished


def deliver(app: App, attempt: ActiveAttempt, ending: Ending) -> Callable[[], None] | None:
    """Send what the task of this attempt left. Returns what to do after the commit. Raises OSError: try again."""
    if attempt.step.engine != "huey" or not isinstance(ending, Finished) or not ending.outcome.told:
        return None
    if not ending.outcome.result.get("sent"):
        return None
    client = AppHostClient(app.settings.run_root, attempt.step.params["app"])
    client.put(attempt.label, attempt.directory.work)
    return partial(_forget, client, attempt.label)


def _forget(client: AppHostClient, step: str) -> None:
    # A kept id is harmless: no other step has it.
    with suppress(OSError):
        client.forget(step)
