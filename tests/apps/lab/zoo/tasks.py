import os
import subprocess
import sys
import time

import huey as package
from huey import crontab
from huey.exceptions import CancelExecution, RetryTask

from zoo.queue import case_of, huey, note  # noqa: F401

NEW = {"retry_backoff": 2} if hasattr(package.api.Task, "default_retry_backoff") else {}
TIMED = {"timeout": 1} if hasattr(package.api.Task, "default_timeout") else {}


class Odd(Exception):
    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


def runs(case):
    """How often the body of this case has run, this time included."""
    with open("data/runs", "a+") as file:
        file.write(f"{case}\n")
        file.seek(0)
        return file.read().split("\n").count(case)


@huey.task()
def plain(case, *values, **named):
    note(case, "body", repr([values, named]))
    return [*values, *named.values()]


@huey.task()
def nothing(case):
    note(case, "body")


@huey.task()
def fails(case, *values):
    note(case, "body", repr(values))
    raise ValueError(f"no luck with {case}")


@huey.task()
def fails_oddly(case):
    raise Odd(case, "an exception that cannot be unpickled")


@huey.task(retries=2)
def second_try(case):
    note(case, "body")
    if runs(case) < 2:
        raise ValueError("the first try fails")
    return "second"


@huey.task(retries=2, retry_delay=1)
def never_succeeds(case):
    note(case, "body")
    raise KeyError(case)


@huey.task(retries=2, retry_delay=1, **NEW)
def backs_off(case):
    note(case, "body")
    if runs(case) < 3:
        raise ValueError("not yet")
    return "third"


@huey.task(retries=3, retry_delay=5, context=True)
def changes_itself(case, task=None):
    note(case, "body", f"retries={task.retries} delay={task.retry_delay}")
    if runs(case) < 3:
        task.retry_delay = 1
        task.retries = 1
        raise ValueError("with another delay")
    return f"retries={task.retries} delay={task.retry_delay}"


@huey.task()
def asks_for_retry(case):
    note(case, "body")
    if runs(case) < 3:
        raise RetryTask("again", delay=1 if runs(f"{case}-delayed") > 1 else None)
    return "asked twice"


@huey.task(retries=1)
def cancels(case, retry):
    note(case, "body")
    if runs(case) < 2:
        raise CancelExecution("no", retry=retry)
    return "ran again"


@huey.task()
def hook_cancelled(case):
    note(case, "body", "must not run")


@huey.task(**TIMED)
def too_slow(case):
    note(case, "body")
    if TIMED:
        time.sleep(30)
    return "without timeouts"


@huey.task()
def locked(case):
    with huey.lock_task("taken"):
        note(case, "body", "must not run")


@huey.task(retries=1, retry_delay=1)
@huey.lock_task("free")
def locks(case):
    note(case, "body", f"locked={huey.is_locked('free')}" if hasattr(huey, "is_locked") else "locked=True")
    return "with the lock"


@huey.task(context=True)
def nested(case, task=None):
    note(case, "body")
    plain(f"{case}-inner", 1)
    plain.schedule((f"{case}-later", 2), delay=1)
    return task.args[0]


@huey.task()
def leaves_a_child(case):
    """Its own session, so that no signal of the group reaches it; it ends by itself before the task does."""
    note(case, "body")
    child = subprocess.Popen(["sleep", "0.1"], start_new_session=True)
    return child.wait()


@huey.task()
def unstorable(case):
    note(case, "body")
    return sys.stdout


@huey.task()
def interrupts(case):
    note(case, "body")
    raise KeyboardInterrupt


@huey.task()
def counts(case, values):
    note(case, "body", repr([str(value)[:40] for value in values]))
    return len(values)


@huey.task()
def handles(case, problem):
    note(case, "body", str(problem)[:40])
    return "handled"


@huey.task(priority=5)
def urgent(case):
    note(case, "body")


@huey.task(expires=3600)
def fresh(case):
    note(case, "body")
    return os.getcwd() == os.path.realpath(".")


@huey.periodic_task(crontab(minute="1", hour="1", day="1", month="1"))
def yearly():
    note("?", "body")


@huey.task(retries=10**6)
def last(case):
    """Ends when no other task waits."""
    if len(huey) or huey.scheduled_count():
        raise RetryTask("not the last one", delay=0.5)
