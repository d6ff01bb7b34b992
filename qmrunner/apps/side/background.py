"""What a task leaves to be done in the background of its process, which ends with it: Huey's workers live on."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

_FINISH_S = 10.0
_FLUSH_S = 5.0


def finish() -> None:
    """Do what Python does at its end, in its order: let threads end, 10 s at most, then let reports be sent."""
    end = time.monotonic() + _FINISH_S
    # Threads of an executor wait for work for ever, unless the module that made them is asked to end them.
    _call_apart(reversed(getattr(threading, "_threading_atexits", [])), _FINISH_S)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
    # With isolation `exec` all that the application registered, else what this task did: `inheritance.restore`.
    last = (_flush_sentry, *_flushes_of_opentelemetry(), atexit._run_exitfuncs, logging.shutdown)
    _call_apart(last, _FLUSH_S + max(0.0, end - time.monotonic()))


def _call_apart(functions: Iterable[Callable[[], object]], seconds: float) -> None:
    """Call these in a thread, and leave it behind when it takes too long."""

    def call() -> None:
        for function in functions:
            try:
                function()
            except Exception:
                traceback.print_exc()

    helper = threading.Thread(target=call, daemon=True)
    helper.start()
    helper.join(seconds)


def _flush_sentry() -> None:
    sentry = sys.modules.get("sentry_sdk")
    if sentry is not None and hasattr(sentry, "flush"):
        sentry.flush(timeout=_FLUSH_S)


def _flushes_of_opentelemetry() -> Iterator[Callable[[], None]]:
    for module, provider in _OPENTELEMETRY:
        get = getattr(sys.modules.get(f"opentelemetry.{module}"), provider, None)
        if get is not None:
            yield partial(_flush_provider, get)


def _flush_provider(get: Callable[[], Any]) -> None:
    flush = getattr(get(), "force_flush", None)
    if flush is not None:
        flush()


_OPENTELEMETRY = (
    ("trace", "get_tracer_provider"),
    ("metrics", "get_meter_provider"),
    ("_logs", "get_logger_provider"),
)
