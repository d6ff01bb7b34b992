"""The forked child of a guardian, until it is the engine: signals, limits, descriptors and confinement."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from qmrunner.guardian.confine import enforce

if TYPE_CHECKING:
    from qmrunner.guardian.process import Order

OOM_SCORE = 500  # on a scale of -1000 to 1000: adds half of the machine's memory to an engine process's size


def become_engine(order: Order, log: int, problem: int, call: Callable[[Order], None] | None) -> None:
    """In the forked child: clean signals, limits and descriptors, then exec or `call`. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_DFL)
                except OSError:
                    continue  # reserved by libc
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if call is None:
            # Before exec: a Fortran program cannot raise its own stack once it runs.
            hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
            resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))
        if order.file_limit_bytes:
            # No single file may fill the volume between two samples; the engine then ends by SIGXFSZ.
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            limit = order.file_limit_bytes if most == resource.RLIM_INFINITY else min(most, order.file_limit_bytes)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        if call is None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        be_first_when_memory_ends()
        os.chdir(order.cwd)
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.setsid()
        if order.confinement is not None:
            enforce(order.confinement)
        if call is not None:
            os.close(problem)  # the guardian reads it to its end: nothing failed
            _run_call(call, order)
        os.execvpe(order.argv[0], order.argv, order.env)
    except OSError as error:
        os.write(problem, (error.strerror or str(error)).encode())
        os._exit(126 if error.errno in (errno.EACCES, errno.ENOEXEC) else 127)
    except BaseException as error:
        os.write(problem, repr(error).encode())
        os._exit(127)


def _run_call(call: Callable[[Order], None], order: Order) -> NoReturn:
    """Run `call` and end the process with status 0, or 1 after an exception. No exit handler of the parent runs."""
    status = 1
    try:
        call(order)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def be_first_when_memory_ends() -> None:
    """Make the OOM killer prefer engines: a consumer is as large as a small rank; without it every slot waits."""
    path = "/proc/self/oom_score_adj"
    try:
        with open(path) as file:
            now = int(file.read())
        if now < OOM_SCORE:
            with open(path, "w") as file:
                file.write(str(OOM_SCORE))
    except OSError:
        pass  # then the kernel chooses by size
