"""Examine this machine as `qmrunner doctor` does, and store the report beside the worker's row.

The worker starts it as `python -m qmrunner.doctor.record WORKER_ID`: in a separate process, because checks start
programs and wait for servers. It ends with its stdin, that is with the worker.
"""

from __future__ import annotations

import os
import sys

from qmrunner import app as composition
from qmrunner import settings
from qmrunner.doctor.checks import examine
from qmrunner.errors import QmrunnerError
from qmrunner.host.threads import start
from qmrunner.masking import mask_all
from qmrunner.store import examinations


def record(worker_id: int) -> None:
    """Raises QmrunnerError when the settings or the store cannot be used."""
    found = settings.load()
    checks = [mask_all(finding.as_dict()) for finding in examine(found)]
    app = composition.build(found)
    app.open_store(create=False)
    with app.store.write() as connection:
        examinations.save(connection, app.store.now(), worker_id, checks)
    app.close()


def _end_with_stdin() -> None:
    while os.read(0, 4096):  # a buffered read would hold a lock that Python needs to exit
        pass
    os._exit(1)


if __name__ == "__main__":
    start("stdin", _end_with_stdin)
    try:
        record(int(sys.argv[1]))
    except QmrunnerError as problem:
        sys.exit(f"{problem.code}: {problem.message}")
