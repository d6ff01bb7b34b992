"""Ends the process it is loaded into, by SIGKILL, at named points of qmrunner. The program itself knows nothing of it.

Loaded by Python itself when this folder is on PYTHONPATH; does nothing unless CHAOS_PLAN names a plan. The plan is a
JSON file: {"seed", "often", "seldom", "folder", "windows": [[name, role, module, function, "before"|"after"], ...]}.
A window that was never hit is hit often, one that was is hit seldom. The file `off` in the folder ends it all.
"""

import functools
import importlib.abc
import importlib.machinery
import json
import os
import random
import signal
import sys


class Chaos:
    def __init__(self, plan):
        self.folder = plan["folder"]
        self.plan = plan
        self.role = None
        self.begin(None)

    def begin(self, role):
        """A process with its own dice, in an order that the seed decides as far as the scheduler lets it."""
        self.role = role
        number = self.append("starts", f"{role}\n")
        self.dice = random.Random(f"{self.plan['seed']}/{role}/{number}")
        try:
            with open(f"{self.folder}/hits") as file:
                self.hit = {line.split()[0] for line in file if line.split()}
        except FileNotFoundError:
            self.hit = set()

    def append(self, name, line):
        descriptor = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def own_role(self):
        """supervisor, consumer, spawner, guardian or command: known from the command line once that exists."""
        if self.role is None:
            words = " ".join(sys.argv[:2])
            known = {"consumer": "worker/process", "spawner": "guardian/spawner"}
            self.role = next((name for name, module in known.items() if module in words), None) or (
                "supervisor" if words.endswith(" run") else "command"
            )
        return self.role

    def maybe(self, window, role):
        if self.own_role() != role or os.path.exists(f"{self.folder}/off"):
            return
        chance = self.plan["seldom" if window in self.hit else "often"]
        if self.dice.random() < chance:
            self.append("hits", f"{window} {os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, original, window, role, when):
        @functools.wraps(original)
        def wrapped(*args, **kwargs):
            if when == "before":
                self.maybe(window, role)
            result = original(*args, **kwargs)
            if when == "after":
                self.maybe(window, role)
            return result

        return wrapped

    def patch(self, module):
        for window, role, name, function, when in self.plan["windows"]:
            if name != module.__name__:
                continue
            *path, last = function.split(".")
            owner = functools.reduce(getattr, path, module)
            setattr(owner, last, self.wrap(getattr(owner, last), window, role, when))

    def watch_forks(self):
        """The spawner dies between a fork and its answer; a guardian between its engine's fork and the record."""
        original = os.fork

        def fork():
            role = self.own_role()
            pid = original()
            if pid == 0:
                self.begin({"spawner": "guardian", "guardian": "engine"}.get(role, role))
            elif role in ("spawner", "guardian"):
                self.maybe({"spawner": "forked-unanswered", "guardian": "engine-forked-unrecorded"}[role], role)
            return pid

        os.fork = fork


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, chaos):
        self.chaos = chaos
        self.wanted = {name for _, _, name, _, _ in chaos.plan["windows"]}

    def find_spec(self, fullname, path, target=None):
        if fullname not in self.wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.chaos.patch(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("CHAOS_PLAN"):
    with open(os.environ["CHAOS_PLAN"]) as _file:
        _chaos = Chaos(json.load(_file))
    _chaos.watch_forks()
    sys.meta_path.insert(0, Finder(_chaos))
