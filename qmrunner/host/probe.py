"""The only place that runs probes: which programs are installed here, in which version."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qmrunner.engines.base import Engine, Installed, Which

PROBE_TIMEOUT_S = 20.0
_LONGEST_OUTPUT = 1 << 20
_LONGEST_LINE = 200
# A probe is one short call: no thread pool; Open MPI must not refuse a worker that is root in its container.
_ENVIRONMENT = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}
_answers: dict[tuple[Any, ...], Installed] = {}


def probe(
    engine: Engine,
    configured: Mapping[str, str | None],
    which: Which = shutil.which,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> Installed:
    """How `engine` is installed here. `configured` holds the paths of the settings (``xtb``, ``mpirun``, …).

    The answer is cached in this process until the program's file changes. Never raises because a probe failed: the
    engine then interprets the output it got, usually as an unknown version.
    """
    installation = engine.locate(configured, which)
    if installation.path is None:
        return installation
    key = _identity(installation)
    if key not in _answers:
        outputs = [_output(argv, timeout_s) for argv in engine.probe_argv(installation)]
        installed = engine.read_probe(installation, outputs)
        if installed.version is None:  # show the program's output instead, for diagnosis
            installed = replace(installed, facts={**installed.facts, "said": _last_line(outputs)})
        _answers[key] = installed
    return _answers[key]


def _last_line(outputs: Sequence[str]) -> str | None:
    lines = ("".join(filter(str.isprintable, line)).strip() for line in reversed("\n".join(outputs).splitlines()))
    return next((line[:_LONGEST_LINE] for line in lines if line), None)


def _identity(installation: Installed) -> tuple[Any, ...]:
    assert installation.path is not None
    try:
        status = os.stat(installation.path)
        file = (status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:
        file = (0, 0, 0)
    return (installation.name, installation.path, file, repr(sorted(installation.facts.items())))


def _output(argv: tuple[str, ...], timeout_s: float) -> str:
    """stdout and stderr of a command, run in a new empty directory; after a timeout the output so far."""
    with tempfile.TemporaryDirectory(prefix="qmrunner-probe-") as directory:
        try:
            process = subprocess.Popen(
                argv,
                cwd=directory,
                env={**os.environ, **_ENVIRONMENT, "TMPDIR": directory},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return str(error)
        with process:
            try:
                output, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
    return output[:_LONGEST_OUTPUT].decode("utf-8", "replace")
