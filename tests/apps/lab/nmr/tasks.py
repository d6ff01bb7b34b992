import asyncio
import os
import signal
import subprocess
import sys
import time

from huey import crontab
from huey.exceptions import CancelExecution  # noqa: F401

from nmr.queue import huey
from nmr.storage import folder


def note(job, text):
    with open(folder(job) / "bodies", "a") as file:
        file.write(f"{os.getpid()} {text}\n")


@huey.task()
def optimise(job, seconds):
    """As a runner of NWChem: a shell starts the program, and its output goes to a file."""
    note(job, "begin")
    print(f"optimising {job} in {os.getcwd()}", flush=True)
    command = (
        f"for i in $(seq {int(seconds * 10)}); do echo iteration $i; sleep 0.1; done > optimize.out 2> optimize.log"
    )
    code = subprocess.call(command, shell=True, cwd=folder(job))
    if code:
        raise RuntimeError(f"engine ended with exit code {code}")
    note(job, "end")
    return {"job": job, "tmp": os.environ.get("TMPDIR")}


@huey.task()
def handles_stop(job, how):
    """Has its own way with SIGTERM, and fails when its program ends by it."""
    note(job, "begin")
    if len((folder(job) / "bodies").read_text().splitlines()) > 1:
        return "again"

    async def run():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        child = await asyncio.create_subprocess_exec("sleep", "60")
        return await child.wait()

    if how == "loop":
        code = asyncio.run(run())
    else:
        signal.signal(signal.SIGTERM, lambda *_: None)
        code = subprocess.call(["sleep", "60"])
    if code and how != "returns":
        raise RuntimeError(f"the program ended with {code}")
    return code


@huey.task()
def add(a, b):
    return a + b


@huey.task(retries=1, retry_delay=1)
def flaky(job):
    note(job, "flaky")
    if len((folder(job) / "bodies").read_text().splitlines()) < 2:
        raise ValueError("the first try fails")
    return "second"


@huey.task(retries=3)
def often(job, good_at):
    """Is put back at once, while other workers are free."""
    note(job, "often")
    if len((folder(job) / "bodies").read_text().splitlines()) < good_at:
        raise ValueError("not yet")
    return "good"


@huey.task()
def fail(job):
    raise ValueError(f"no luck with {job}")


@huey.task()
def total(values):
    return sum(values)


@huey.task()
def leave(job):
    note(job, "leave")
    os._exit(3)


@huey.task()
def locked(job, seconds):
    with huey.lock_task("one"):
        note(job, "locked")
        subprocess.call(["sleep", str(seconds)])
    return job


@huey.task(qmrunner={"rerun": "never", "memory_mib": 128})
def pump(job):
    note(job, "pump")
    subprocess.call(["sleep", "60"])


_loaded = []


@huey.task()
def warm(job):
    """Loads a model, and a server for it, once in each process; leaves an orphan each time."""
    if not _loaded:
        _loaded.append(subprocess.Popen(["sleep", "601"]))
    _loaded.append(job)
    orphan = subprocess.run(["sh", "-c", "sleep 602 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True)
    note(job, f"{len(_loaded)} {_loaded[0].pid} {int(orphan.stdout)} {os.environ['TMPDIR']}")
    return len(_loaded)


@huey.task(qmrunner={"detach": True})
def leave_running(job, status=None):
    """Starts a program that is to outlive the task."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    note(job, f"left {child.pid}")
    if status is not None:
        os._exit(status)
    return "left"


@huey.task(qmrunner={"quiet_timeout_s": 2})
def stuck(job):
    note(job, "stuck")
    if len((folder(job) / "bodies").read_text().splitlines()) < 2:
        subprocess.call(["sleep", "600"])
    return "moved"


@huey.task()
def unstorable(job):
    note(job, "unstorable")
    return sys.stdout


@huey.task()
def work(job):
    """Half a second, with a child."""
    note(job, "work")
    subprocess.check_call(["sleep", "0.5"])
    return "done"


@huey.task()
def work_after(job, before):
    note(job, "work")
    subprocess.check_call(["sleep", "0.3"])
    return f"{before} done"


@huey.task()
def count(results):
    return sum(result == "done" for result in results)


@huey.task(retries=20, retry_delay=1)
def locked_work(job):
    with huey.lock_task("storm"):
        return work.func(job)


@huey.task()
def meet(job, others):
    """Wait until so many tasks of this kind run at once; then leave."""
    here = folder("meeting")
    (here / job).touch()
    end = time.monotonic() + 60
    most = 0
    while time.monotonic() < end and most < others:
        most = max(most, len(os.listdir(here)))
        time.sleep(0.02)
    note(job, f"met {most}")
    time.sleep(1)
    (here / job).unlink()


@huey.task()
def stubborn(job):
    """Holds a lock, and does not let itself be interrupted."""
    with huey.lock_task("stubborn"):
        note(job, "stubborn")
        while True:
            try:
                time.sleep(60)
            except BaseException:
                continue


if os.environ.get("LAB_PERIODIC"):

    @huey.periodic_task(crontab(minute="*"))
    def every_minute():
        note("tick", "tick")
        time.sleep(45)


@huey.task()
def tick(job):
    note(job, "tick")
    return "done"


@huey.task()
def tick_after(job, before):
    note(job, "tick")
    return f"{before} done"


@huey.task(retries=20, retry_delay=1)
def locked_tick(job):
    with huey.lock_task("windows"):
        return tick.func(job)


@huey.task(retries=1)
def second_tick(job):
    note(job, "tick")
    if len((folder(job) / "bodies").read_text().splitlines()) < 2:
        raise ValueError("the first try fails")
    return "done"
