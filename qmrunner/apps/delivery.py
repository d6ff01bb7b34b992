"""What a task's end sends is sent before the end is committed: once, however often that is repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from qmrunner import untrusted
from qmrunner.app import App
from qmrunner.apps.host_client import AppHostClient
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.engines.huey import COMMITTED
from qmrunner.model.policy import Ending, Finished


def deliver(app: App, attempt: ActiveAttempt, ending: Ending) -> Callable[[], None] | None:
    """Send what the task of this attempt left. Returns what to do after the commit. Raises OSError: try again."""
    if attempt.step.engine != "huey" or not isinstance(ending, Finished) or not ending.outcome.reported:
        return None
    client = AppHostClient(app.settings.run_root, attempt.step.params["app"])
    sent = bool(ending.outcome.result.get("sent"))
    if sent:
        client.put(attempt.label, attempt.directory.work)
    return partial(_after, attempt, ending.outcome.state, client if sent else None)


def _after(attempt: ActiveAttempt, state: str, client: AppHostClient | None) -> None:
    """Without these an operator's `retry` repeats the epilogue only, and an id is kept that no other step has."""
    for number in range(1, attempt.number + 1) if state != "succeeded" else ():
        with suppress(OSError):
            work = AttemptDirectory(attempt.directory.path.parent / str(number)).work
            untrusted.write_bytes(work / COMMITTED, b"")
    if client is not None:
        with suppress(OSError):
            client.forget(attempt.label)
