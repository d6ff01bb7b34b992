import os
import time

from huey import signals

from nmr.storages import make

while os.path.exists("data/hold"):  # an import that takes as long as a test wants
    time.sleep(0.05)
huey = make()


@huey.on_startup()
def on_startup():
    with open("data/hooks", "a") as file:
        file.write(f"{os.getpid()}\n")


@huey.signal(signals.SIGNAL_EXECUTING)
def on_executing(signal, task):
    set_state(task, "running")


@huey.signal(signals.SIGNAL_COMPLETE)
def on_complete(signal, task):
    set_state(task, "complete")


@huey.signal(signals.SIGNAL_ERROR)
def on_error(signal, task, problem=None):
    set_state(task, f"failed: {problem}")


@huey.signal(signals.SIGNAL_INTERRUPTED)
def on_interrupted(signal, task):
    set_state(task, "failed: interrupted")


def set_state(task, state):
    from nmr.storage import write_state

    if task.args:
        write_state(task.args[0], state)


from nmr import tasks  # noqa: E402, F401
