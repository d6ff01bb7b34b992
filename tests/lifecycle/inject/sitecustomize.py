"""Lets named functions of qmrunner raise as long as a file is there. The program itself knows nothing of it.

Loaded by Python itself when this folder is on PYTHONPATH; does nothing unless PROBLEMS names a file with a plan:
{"folder", "problem", "functions": [[module, function], ...]}. While `on` is in the folder each call raises; what was
called is in `hits`.
"""

import errno
import functools
import importlib.abc
import importlib.machinery
import json
import os
import sqlite3
import sys

PROBLEMS = {
    "disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "memory": MemoryError,
    "threads": lambda: RuntimeError("can't start new thread"),
    "sqlite": lambda: sqlite3.DatabaseError("database disk image is malformed"),
    "bug": lambda: KeyError("nothing here"),
}


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, plan):
        self.plan = plan
        self.wanted = {module for module, _ in plan["functions"]}

    def find_spec(self, fullname, path, target=None):
        if fullname not in self.wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.patch(module)

        spec.loader.exec_module = exec_module
        return spec

    def patch(self, module):
        for name, function in self.plan["functions"]:
            if name == module.__name__:
                *path, last = function.split(".")
                owner = functools.reduce(getattr, path, module)
                setattr(owner, last, self.wrap(getattr(owner, last), function))

    def wrap(self, original, name):
        folder = self.plan["folder"]

        @functools.wraps(original)
        def wrapped(*args, **kwargs):
            if os.path.exists(f"{folder}/on"):
                with open(f"{folder}/hits", "a") as file:
                    file.write(f"{name}\n")
                raise PROBLEMS[self.plan["problem"]]()
            return original(*args, **kwargs)

        return wrapped


if os.environ.get("PROBLEMS"):
    with open(os.environ["PROBLEMS"]) as _file:
        sys.meta_path.insert(0, Finder(json.load(_file)))
