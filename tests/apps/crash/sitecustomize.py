"""Kills a process at a named place, once: Python imports this file at its start when its folder is in PYTHONPATH.

Each line of `$CRASH_FILE` is a place and the number of the call: `qmrunner.apps.side.sql:_Sql.take:after 2`. Without
that file nothing happens. `$CRASH_FILE.log` gets a line for each kill.
"""

import fcntl
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys

_MOVES = ("take", "ack", "to_schedule", "move", "put_once", "forget")
PLACES = {
    "qmrunner.apps.side.sql": [f"_Sql.{name}" for name in _MOVES],
    "qmrunner.apps.side.redis": [f"List.{name}" for name in _MOVES],
    "qmrunner.apps.side.files": [f"Files.{name}" for name in _MOVES],
    "qmrunner.apps.side.done": ["write"],
    "qmrunner.apps.side.task": ["TaskRun.run", "TaskRun._run_body", "TaskRun._save", "TaskRun._repeat"],
    "qmrunner.apps.side.outbox": ["Outbox._check_chord"],
    "qmrunner.apps.side.locks": ["release"],
    "qmrunner.apps.intake": ["Intake._accept"],
    "qmrunner.apps.delivery": ["deliver", "_after"],
    "qmrunner.store.advance": ["accept"],
    "qmrunner.store.finish": ["end"],
    "huey.api": ["Huey.put_result", "Huey._run_post_execute", "Huey._requeue_task", "Huey._emit", "TaskLock.acquire"],
}


def _at(place):
    try:
        with open(os.environ["CRASH_FILE"], "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = dict(line.split() for line in file)
            if place not in lines:
                return
            number = int(lines.pop(place))
            if number > 1:
                lines[place] = number - 1
            file.seek(0)
            file.truncate()
            file.writelines(f"{one} {left}\n" for one, left in lines.items())
            if number > 1:
                return
    except FileNotFoundError:
        return
    with open(os.environ["CRASH_FILE"] + ".log", "a") as log:
        log.write(f"{place}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(function, place):
    @functools.wraps(function)
    def wrapper(*args, **named):
        where = place
        if place.endswith(("done:write", "Huey._emit")):
            where = f"{place}.{args[1]}"  # the file, the signal
        _at(f"{where}:before")
        value = function(*args, **named)
        _at(f"{where}:after")
        return value

    return wrapper


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        for name in PLACES[module.__name__]:
            *parents, last = name.split(".")
            owner = functools.reduce(getattr, parents, module)
            setattr(owner, last, _wrapped(vars(owner)[last], f"{module.__name__}:{name}"))

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in PLACES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if "CRASH_FILE" in os.environ:
    sys.meta_path.insert(0, _Finder())
