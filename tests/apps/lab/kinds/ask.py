"""`python -m kinds.ask [CASE…]`: enqueues the cases, or all that Huey itself can run, and prints their results."""

import json
import sys
import time

from kinds import tasks
from kinds.queue import huey

names = sys.argv[1:]
cases = [getattr(tasks, name) for name in names] or tasks.CASES
results = [(case.task_class.__name__, case()) for case in cases]
if not names:
    results.append(("size", tasks.size(b"x" * 10_000_000)))
found, end = [], time.monotonic() + 60
for name, result in results:
    while not huey.storage.has_data_for_key(result.id) and time.monotonic() < end:
        time.sleep(0.05)
    found.append([name, result.get(preserve=True)])
print(json.dumps(found))
