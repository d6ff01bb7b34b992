"""Takes over what an application's command starts, from the consumer's class to the environment of its tasks."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from huey.consumer import Consumer

from qmrunner.apps.side import beside, launch, locks, originals, place, task
from qmrunner.apps.side.host import AppHost
from qmrunner.guardian import process, process_tree

taken: list[Consumer] = []  # that the command has run or started


def take_over(spec: dict[str, Any]) -> None:
    """From now on `Consumer.run` serves qmrunner instead of running workers."""
    locks.give_owners()
    if "order" in spec:
        _take_over_for_task(spec["order"])
        return
    began = time.monotonic()

    def serve(consumer: Consumer, parent: int | None = None) -> None:
        originals.use()
        host = AppHost(place.take(spec), consumer, spec, time.monotonic() - began, parent)
        launch.forget_own_settings()
        host.prepare()
        host.serve()
        host.leave()

    def serve_beside(consumer: Consumer) -> None:
        serve(consumer, os.getppid())

    def run(consumer: Consumer) -> None:
        taken.append(consumer)
        if threading.current_thread() is threading.main_thread():
            serve(consumer)
        else:
            beside.run(consumer, serve_beside)

    Consumer.run = run
    Consumer.flush_locks = locks.flush
    beside.replace_methods(serve_beside, taken)


def _take_over_for_task(path: str) -> None:
    """This process is one task, with isolation `exec`: the command was executed once more for it."""
    with open(path) as file:
        order = process.Order(**json.load(file))
    process_tree.name_process(process_tree.TASK_NAME)

    def run(consumer: Consumer) -> None:
        launch.forget_own_settings()
        task.run(consumer.huey, order)

    Consumer.run = Consumer.start = run
    Consumer.flush_locks = lambda consumer, *names: None  # the host did
