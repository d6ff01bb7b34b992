"""`python -m qmrunner.chemistry embed|search|select|shifts task.json`: one task in its own process.

Reads the task file, writes results into the working directory, and last `result.json`. Progress goes to stdout as
``progress FRACTION TEXT``; the very last line of a success is ``qmrunner chemistry: done``. A failure is one line
``error CODE: message``, with ``  seen:`` and ``  fix:`` lines after it, and exit status 1; never a traceback, which
goes to `traceback.txt` instead.
"""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmrunner.errors import JobFailedError, QmrunnerError

END_MARKER = "qmrunner chemistry: done"
TASKS = ("embed", "search", "select", "shifts")


def main(arguments: Sequence[str]) -> int:
    """Run one task; the process's exit status."""
    try:
        result = _run(arguments)
        _write_whole(Path("result.json"), json.dumps(result, indent=1, allow_nan=False) + "\n")
    except QmrunnerError as error:
        _complain(error)
        return 1
    except Exception as error:
        Path("traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        _complain(_unexpected(error))
        return 1
    print(END_MARKER, flush=True)
    return 0


def _run(arguments: Sequence[str]) -> dict[str, Any]:
    if len(arguments) != 2 or arguments[0] not in TASKS:
        raise JobFailedError(
            "chemistry_usage", f"expected one of {', '.join(TASKS)} and a task file", evidence=" ".join(arguments)
        )
    # Here, so that a missing RDKit or numpy ends as an error with a remedy.
    try:
        from qmrunner.chemistry import tasks
    except ImportError as error:
        raise JobFailedError(
            "rdkit_missing",
            "the chemistry packages are not installed",
            evidence=str(error),
            remedy="install the extra: pip install 'qmrunner[nmr]'",
        ) from None
    task = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
    return tasks.TASKS[arguments[0]](task, _say)


def _say(fraction: float, text: str) -> None:
    print(f"progress {fraction:.2f} {text}", flush=True)


def _complain(error: QmrunnerError) -> None:
    print(f"error {error.code}: {' '.join(error.message.split())}")
    if error.evidence:
        print(f"  seen: {' '.join(error.evidence.split())}")
    if error.remedy:
        print(f"  fix:  {' '.join(error.remedy.split())}")
    sys.stdout.flush()


def _unexpected(error: Exception) -> QmrunnerError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobFailedError("scratch_full", "the disk is full", evidence=str(error), remedy="free some space")
    return JobFailedError(
        "chemistry_failed",
        "the chemistry step failed unexpectedly",
        evidence=f"{type(error).__name__}: {error}",
        remedy="see traceback.txt in the attempt's directory, and report it with the input",
    )


def _write_whole(path: Path, text: str) -> None:
    scratch = path.with_suffix(".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
