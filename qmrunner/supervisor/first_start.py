"""The first start on a store: a child creates the schema."""

from __future__ import annotations

import os
from contextlib import suppress

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.store import schema


def create_schema(app: App) -> None:
    """Create the schema of an empty store in a child process; an existing one is left as it is.

    Alembic and what it loads would take 12 MiB of the supervisor for as long as it runs. Call it before this process
    has threads. A failure of the child is not reported: the caller opens the store next, which tries again.
    """
    if schema.status(app.store) != "empty":
        return
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
