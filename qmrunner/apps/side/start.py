"""Runs an application's own consumer command and takes it over where `Consumer.run` would begin.

`PYTHON start.py SPEC`, with the application's interpreter. SPEC is JSON: `script` or `module`, `arguments`, `listener`
(a descriptor of the listening socket), `owner` (id of the home), `isolation`, and `python` and `side` to execute this
file again. `order` is the path of one task's order, which this process then runs. fd 0 is a pipe from the supervisor.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import types

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _make_importable() -> None:
    """Make `qmrunner.guardian` and this package importable; no other package of ours meets the application's."""
    package = types.ModuleType("qmrunner")
    package.__path__ = [_PACKAGE]
    sys.modules["qmrunner"] = package


def main() -> None:
    spec = json.loads(sys.argv[1])
    _make_importable()
    # Python put this file's folder first; the application's command has its own first entry.
    sys.path[0] = os.getcwd() if spec["module"] else os.path.dirname(os.path.abspath(spec["script"]))
    from qmrunner.apps.side import host

    host.take_over(spec)
    sys.argv = [spec["script"] or spec["module"], *spec["arguments"]]
    if spec["module"]:
        runpy.run_module(spec["module"], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(spec["script"], run_name="__main__")


if __name__ == "__main__":
    main()
