"""Takes over the first consumer that a command starts in any Python below it: `uv run …`, a shell script, a launcher.

On PYTHONPATH of such a command; `QMRUNNER_APP_HOST` is the spec (`side/start.py`). Python imports this file at its
start, in every process of the command, whatever its version: nothing else is imported until a process imports Huey's
consumer. An own `sitecustomize` of the environment is imported next, as without this file.
"""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


# mypy: ignore-errors
class QmrunnerFinder:
    """Finds `huey.consumer` as the others do, and has its import end with stubs for what is taken over."""

    def find_spec(self, name, path=None, target=None):
        if name != "huey.consumer":
            return None
        sys.meta_path.remove(self)
        import importlib.util

        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for method in ("run", "start", "flush_locks"):
                setattr(module.Consumer, method, _stub(method))

        spec.loader.exec_module = exec_module
        return spec


def _stub(method):
    """Huey itself imports its consumer, also where none will run: the rest is imported by its first call."""

    def call(consumer, *args):
        _take_over()
        from huey.consumer import Consumer

        return getattr(Consumer, method)(consumer, *args)

    return call


def _take_over():
    import importlib.util
    import json

    spec = json.loads(os.environ["QMRUNNER_APP_HOST"])
    start = importlib.util.spec_from_file_location("_qmrunner_start", spec["side"])
    module = importlib.util.module_from_spec(start)
    start.loader.exec_module(module)
    module.take_over(spec)


def _import_next():
    sys.path[:] = [part for part in sys.path if os.path.abspath(part) != _FOLDER]
    own = sys.modules.pop("sitecustomize")
    try:
        __import__("sitecustomize")
    except ImportError as problem:
        if problem.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = own  # the import that is under way expects one


if __name__ == "sitecustomize":
    if "QMRUNNER_APP_HOST" in os.environ:
        sys.meta_path.insert(0, QmrunnerFinder())
    _import_next()
