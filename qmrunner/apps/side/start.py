"""Runs an application's own consumer command and takes it over where `Consumer.run` would begin.

`PYTHON start.py WORDS`, with the application's interpreter. WORDS are those of the command: other programs look at
command lines. `QMRUNNER_APP_HOST` is JSON: `argv` (all of this), `script`, `module` or `code`, `arguments`, `listener`
(a descriptor of the listening socket), `socket` (its path), `owner` (id of the home), `umask` (of files of the home;
this process has the one of the daemon's start), `isolation`, `python` and `side` (this file). `order` is the path of
one task's order, which this process then runs.
fd 0 is a pipe from the supervisor. `command` is what runs instead, with `hook/sitecustomize.py`, where this interpreter
has no Huey: another one below it will have it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import sys
import types
import zipfile
from typing import Any

_SPEC = "QMRUNNER_APP_HOST"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def take_over(spec: dict[str, Any]) -> None:
    """Make `qmrunner.guardian` and this package importable; no other package of ours meets the application's."""
    package = types.ModuleType("qmrunner")
    package.__path__ = [_PACKAGE]
    sys.modules["qmrunner"] = package
    from qmrunner.apps.side import takeover

    takeover.take_over(spec)


def main() -> None:
    spec = json.loads(os.environ[_SPEC])
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "QmrunnerFinder"]
    _set_path(spec)
    if importlib.util.find_spec("huey") is None:
        os.execvp(spec["command"][0], spec["command"])
    take_over(spec)
    if hasattr(sys, "orig_argv"):  # Python 3.10
        del sys.orig_argv[len(spec["python"])]
    sys.argv = [spec["script"] or spec["module"] or "-c", *spec["arguments"]]
    if spec["module"]:
        runpy.run_module(spec["module"], run_name="__main__", alter_sys=True)
    elif spec["script"]:
        runpy.run_path(spec["script"], run_name="__main__")
    else:
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(spec["code"], "<string>", "exec"), main.__dict__)
    from qmrunner.apps.side import takeover

    if not takeover.taken:
        sys.exit("qmrunner: the command has ended and has not run a Huey consumer")


def _set_path(spec: dict[str, Any]) -> None:
    """Python put this file's folder first; the application's command has its own first entry, or none."""
    if sys.flags.isolated or getattr(sys.flags, "safe_path", False):
        return
    script = spec["script"]
    if script and (not os.path.isfile(script) or zipfile.is_zipfile(script)):
        del sys.path[0]  # `runpy` puts a folder or an archive there
    elif script:
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    else:
        sys.path[0] = os.getcwd() if spec["module"] else ""


if __name__ == "__main__":
    main()
