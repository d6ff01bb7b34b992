"""The queue: wakes idle consumer threads. The store alone decides which step runs.

A process that has made a step ready leaves a hint, and one waiting consumer thread on any machine of the store takes it
and asks the store for a step. A hint has no content, so a process with write access to the queue can wake a worker and
do nothing else: the bytes that it leaves there are never decoded. A lost hint costs only time: every worker also asks
the store at each beat.

What Huey is for: it supplies the consumer, that is the threads, their loop and the task that a hint stands for
(`consumer`). It does not hold jobs, results, schedules, retries or locks. Only the worker imports it; processes that
leave hints need `hints` alone.
"""

from __future__ import annotations

from qmrunner.queue.hints import HINT, REDIS_KEY, Queue
from qmrunner.queue.wake import Wake, listen_for_wake, send_wake

__all__ = ["HINT", "REDIS_KEY", "Queue", "Wake", "listen_for_wake", "send_wake"]
