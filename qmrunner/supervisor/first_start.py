"""The first start on a store: a child creates the schema."""

from __future__ import annotations

import os
from contextlib import suppress

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.store import schema


def open_store(app: App) -> None:
    """Open the store; a child process creates the schema of an empty one. Call it before this process has threads.

    Alembic and what it loads would take 12 MiB of the supervisor for as long as it runs. A failure of the child is not
    reported: this process tries again. Raises what `App.open_store` raises.
    """
    if schema.status(app.store) == "empty":
        _create_in_child(app)
    app.open_store(create=True)


def _create_in_child(app: App) -> None:
    app.store.engine.dispose()  # a connection must not be used on both sides of a fork
    child = os.fork()
    if child:
        with suppress(ChildProcessError):  # it was waited for, but SIGCHLD is ignored
            os.waitpid(child, 0)
        return
    try:
        process_tree.die_with_parent()
        App(app.settings).open_store(create=True)
    finally:
        os._exit(0)
